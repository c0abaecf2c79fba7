"""A terminal at which somebody sits who lets others write to it: what comes to it is said."""

import os
import select
import struct
import tty
from pathlib import Path

ours, theirs = os.openpty()
tty.setraw(theirs)
os.fchmod(theirs, 0o620)
# As login(1) does it: at a terminal that is not in the list sits nobody.
with Path("/run/utmp").open("ab") as utmp:
    line = os.ttyname(theirs).removeprefix("/dev/").encode()
    utmp.write(struct.pack("hxxi32s", 7, os.getpid(), line).ljust(384, b"\0"))
print(f"sits at {os.ttyname(theirs)}", flush=True)
text = b""
while select.select([ours], [], [])[0]:
    *lines, text = (text + os.read(ours, 4096)).replace(b"\r", b"\n").split(b"\n")
    for said in lines:
        if said.strip():
            print(said.decode(errors="replace"), flush=True)
