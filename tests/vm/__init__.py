"""Real exhaustion: a Debian guest in QEMU, without KVM, whose memory truly runs out.

A *machine* (memory, swap, speed of the disks) is restored from a saved state in a second or two, runs one
*job* (a script, and what it needs), and what happened comes back as a *result*. The image and the saved state
are built when they are first needed and kept in
``${OKOOMER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/okoomer}/vm``.

    image.py      what a guest is made of; ``python -m tests.vm.image`` builds it
    qemu.py       one QEMU process
    snapshot.py   a guest that has booted, saved
    machine.py    restores it and runs a job
    job.py        what a guest is to do
    daemon.py     the daemon that guards it
    result.py     what happened
    guest/        what runs inside
"""
