"""What persons' programs do with org.okoomer.Okoomer1 of a guard in a box: GLib's and systemd's tools, as root and as
somebody else; and what is announced to whom no agent tells it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from okoomer import __version__
from tests.box.guards import OKOOMER, events, state
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB
from tests.bus.scene import COURIER_UID, LEVELS, LOW, MEDIUM, NOBODY, Scene, one
from tests.unit.buses import Listener
from tests.unit.loops import Client
from tests.unit.sessions import until

NAME, PATH = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"
HOG = 300 * MIB
ASK = """
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "process"
least = "8MiB"
steps = ["pause 1s", "ask 1min", "kill"]
"""
KILL = ASK.replace('"pause 1s", "ask 1min", ', "")
#: A user of whom /etc/passwd knows.
OTHER = NOBODY


def ran(*command: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, user=user, timeout=60, check=False)


def busctl(scene: Scene, verb: str, *words: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    """systemd's tool, about okoomer's object."""
    tool = ("busctl", f"--address={scene.bus.address}", "--json=short" if verb == "call" else "--full")
    return ran(*tool, verb, NAME, PATH, *words, user=user)


def called(scene: Scene, member: str, *words: str, user: int = 0) -> str:
    """What a call ends with: "" if it is well, else the error."""
    done = busctl(scene, "call", NAME, member, *words, user=user)
    assert bool(done.returncode) == bool(done.stderr), done
    return done.stderr.strip()


def gdbus(member: str, *words: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    """GLib's tool; a call of a member of okoomer's interface."""
    return ran("gdbus", "call", "--system", "-d", NAME, "-o", PATH, "-m", f"{NAME}.{member}", *words, user=user)


def refused(*words: str, user: int) -> str:
    """What a call by GLib's tool fails with, "" if it does not. One may only ask so often in a second, and whoever asks
    again at once uses up what he may."""
    for _ in range(20):
        told = gdbus(*words, user=user).stderr
        if "Error.Busy" not in told:
            break
        time.sleep(0.3)
    return told


def ready() -> None:
    """Waits until okoomer is on the bus."""
    with Client("SYSTEM", NAME, PATH) as client:
        client.waits()


@pytest.fixture(params=["child", "apart"])
def start(scene: Scene, request: pytest.FixtureRequest) -> Callable[[str], Proc]:
    """Starts a guard whose courier is its child and root's, or one that has come to the door and is another user's."""

    def guard(policy: str) -> Proc:
        if request.param == "child":
            made = scene.guard(policy)
        else:
            made = scene.apart(policy)
            courier = scene.courier()
            until(lambda: inside(courier))
        ready()
        return made

    return guard


def inside(courier: Proc) -> bool:
    """Whether the guard has let it in: it has the ring."""
    try:
        return any(str(fd.readlink()).endswith("/ring") for fd in (courier.proc / "fd").iterdir())
    except OSError:
        return False


def short(scene: Scene) -> None:
    scene.box.memory(available=scene.box.total * 8 // 100)


def stands(hog: Proc, still: bool = True) -> None:
    """Waits until it stands still, or runs."""
    until(lambda: (state(hog) == "T") is still)


def test_glibs_tool_sees_the_interface_that_is_documented_and_reads_it(scene: Scene) -> None:
    scene.guard(LEVELS)
    ready()
    done = ran("gdbus", "introspect", "--system", "-d", NAME, "-o", PATH, "--xml", user=OTHER)
    assert done.returncode == 0, done.stderr
    root = ElementTree.fromstring(done.stdout)
    [interface] = [each for each in root.findall("interface") if each.get("name") == NAME]
    assert {each.get("name") for each in interface.iter("method")} == {
        "Why", "History", "Answer", "Pause", "Resume", "Attend",
    }  # fmt: skip
    assert {each.get("name") for each in interface.iter("signal")} == {
        "Warned", "Acting", "Acted", "Question", "Closed",
    }  # fmt: skip
    plain = ran("gdbus", "introspect", "--system", "-d", NAME, "-o", PATH).stdout
    assert f"readonly s Version = '{__version__}'" in plain
    assert "readonly y Level = 0x00;" in plain


def test_systemds_tool_sees_and_reads_it_and_hears_of_a_change(scene: Scene) -> None:
    scene.guard(LEVELS)
    ready()
    listed = [line.split() for line in busctl(scene, "introspect", NAME).stdout.splitlines()]
    members = {name: rest for name, *rest in listed}
    assert members[".Level"] == ["property", "y", "0", "emits-change"]
    assert members[".Questions"] == ["property", "a{ua{sv}}", "0", "emits-change"]
    assert members[".Answer"][:2] == ["method", "ust"]
    scene.short(MEDIUM)
    until(lambda: busctl(scene, "get-property", NAME, "Level").stdout == f"y {MEDIUM}\n")
    available = int(busctl(scene, "get-property", NAME, "Available").stdout.split()[1])
    assert abs(available - scene.box.total * 8 // 100) < MIB
    assert busctl(scene, "get-property", NAME, "Nothing").returncode
    monitor = subprocess.Popen(
        ["gdbus", "monitor", "--system", "--dest", NAME], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert monitor.stdout
        with monitor.stdout as out:
            while "is owned by" not in out.readline():
                pass
            scene.short(LOW)
            while "'Level': <byte 0x32>" not in (line := out.readline()):
                assert line, "it has ended"
    finally:
        monitor.kill()
        monitor.wait()


def test_one_pauses_what_is_ones_own_and_nobody_elses(start: Callable[[str], Proc], scene: Scene) -> None:
    guard = start(ASK)
    own, roots = scene.box.spawn(rss_bytes=HOG, uid=OTHER), scene.box.spawn(rss_bytes=HOG)
    for pid, error in (
        (roots.pid, f"NotYours: {roots.pid} is not user {OTHER}'s"),
        (guard.pid, f"NotYours: {guard.pid} is not user {OTHER}'s"),
        (4000000, "Refused: there is no such process 4000000"),
    ):
        assert f"{NAME}.Error.{error}" in refused("Pause", str(pid), user=OTHER)
    assert state(roots) != "T" and state(own) != "T" and not events(guard, "paused")
    assert refused("Pause", str(own.pid), user=OTHER) == ""
    stands(own)
    assert state(roots) != "T"
    assert f"{NAME}.Error.Refused: {own.pid} is paused already" in refused("Pause", str(own.pid), user=OTHER)
    assert called(scene, "Resume", "u", str(own.pid), user=OTHER) == ""
    stands(own, still=False)
    paused, resumed = one(guard, "paused"), one(guard, "resumed")
    assert (paused["pids"], paused["by"]) == ([own.pid], f"user {OTHER}") and resumed["pids"] == [own.pid]


def test_one_answers_for_what_is_ones_own_and_nobody_elses(start: Callable[[str], Proc], scene: Scene) -> None:
    guard, hog = start(ASK), scene.box.spawn(rss_bytes=HOG, gives_back=12 * GIB)
    short(scene)
    guard.wait_line('"event": "question"', 60)
    stands(hog)
    until(lambda: busctl(scene, "get-property", NAME, "Questions").stdout.startswith("a{ua{sv}} 1 1 "))
    for word in ("resume", "end", "limit"):
        done = gdbus("Answer", "1", word, "0", user=OTHER)
        assert f"{NAME}.Error.NotYours" in done.stderr
    assert f"{NAME}.Error.NotYours" in gdbus("Resume", str(hog.pid), user=OTHER).stderr
    assert f"{NAME}.Error.NoQuestion" in gdbus("Answer", "2", "end", "0").stderr
    assert f"{NAME}.Error.BadAnswer" in gdbus("Answer", "1", "explode", "0").stderr
    assert f"{NAME}.Error.BadAnswer" in gdbus("Answer", "1", "", "0", user=OTHER).stderr
    assert state(hog) == "T" and not events(guard, "closed")
    assert gdbus("Answer", "1", "end", "0").stdout == "()\n"
    assert hog.wait(60).signal == signal.SIGKILL
    until(lambda: busctl(scene, "get-property", NAME, "Questions").stdout == "a{ua{sv}} 0\n")


def test_the_owner_of_a_process_answers_for_it(start: Callable[[str], Proc], scene: Scene) -> None:
    guard, hog = start(ASK), scene.box.spawn(rss_bytes=HOG, gives_back=12 * GIB, uid=OTHER)
    short(scene)
    guard.wait_line('"event": "question"', 60)
    assert called(scene, "Answer", "ust", "1", "end", "0", user=OTHER) == ""
    assert hog.wait(60).signal == signal.SIGKILL
    assert one(guard, "closed")["user"] == OTHER


def test_persons_who_are_not_root_have_okoomers_own_commands(start: Callable[[str], Proc], scene: Scene) -> None:
    guard, box = start(ASK), scene.box
    own = box.spawn(rss_bytes=HOG, gives_back=12 * GIB, uid=OTHER, name="theirs")

    def ends(*words: str) -> tuple[int | None, str]:
        """How a command of that person's ends, and what it says."""
        command = box.daemon([OKOOMER, *words], uid=OTHER)
        return command.wait(60).code, " ".join(line.text for line in command.lines)

    assert ends("pause", str(own.pid)) == (0, f"theirs (pid {own.pid}) is paused")
    stands(own)
    assert ends("resume", str(own.pid))[0] == 0
    stands(own, still=False)
    assert ends("answer")[0] == 1
    short(scene)
    guard.wait_line('"event": "question"', 60)
    code, said = ends("answer", "--json")
    [asked] = json.loads(said)
    assert code == 0 and (asked["question"], asked["name"], asked["pids"]) == (1, "theirs", [own.pid])
    assert ends("answer", "2", "end")[0] == 1
    assert ends("answer", "end")[0] == 0
    assert own.wait(60).signal == signal.SIGKILL


def test_what_was_done_to_others_is_told_without_what_is_theirs(scene: Scene) -> None:
    guard = scene.guard(f"{KILL}prefer = ['cmdline:hog.py']\n")
    ready()
    hog = scene.box.spawn(rss_bytes=HOG, gives_back=12 * GIB, name="secretive")
    short(scene)
    hog.wait(60)
    guard.wait_line('"event": "died"', 60)
    chosen = one(guard, "chosen")

    def history(user: int) -> list[dict[str, Any]]:
        told = json.loads(busctl(scene, "call", NAME, "History", "u", "100", user=user).stdout)
        return [json.loads(line) for line in told["data"][0]]

    until(lambda: [event["event"] for event in history(0)][:1] == ["died"])
    [for_root] = [event for event in history(0) if event["event"] == "chosen"]
    [for_other] = [event for event in history(OTHER) if event["event"] == "chosen"]
    assert for_root == chosen and "rss_bytes" in for_root["command"]
    assert for_root["ranking"] and "ranking" not in for_other
    assert for_other["name"] == "secretive" and "rss_bytes" not in json.dumps(for_other)
    why = gdbus("Why", str(chosen["sequence"]), user=OTHER)
    assert "secretive" in why.stdout and "rss_bytes" not in why.stdout
    assert gdbus("Why", "4000000").returncode


def test_announcements_are_made_while_no_agent_attends(scene: Scene) -> None:
    guard = scene.guard(KILL)
    ready()

    def kill(name: str) -> None:
        deaths = len(scene.box.deaths)
        hog = scene.box.spawn(rss_bytes=HOG, gives_back=18 * GIB, name=name)
        short(scene)
        hog.wait(60)
        until(lambda: len(events(guard, "died")) > deaths)

    listener = Listener()
    try:
        kill("first")
        until(lambda: any("first" in heard.words[1] for heard in listener.heard))
        with Client("SYSTEM", NAME, PATH) as agent:
            assert agent.got("Attend") == ()
            kill("second")
            agent.hears()
            agent.signals(1, timeout=2.0)
            assert not any("second" in heard.words[1] for heard in listener.heard)
        kill("third")
        until(lambda: any("third" in heard.words[1] for heard in listener.heard))
        assert not any("second" in heard.words[1] for heard in listener.heard)
        [first] = [heard for heard in listener.heard if "first" in heard.words[1]]
        assert first.words[0] == "okoomer" and "was ended, for want of memory" in first.words[1]
    finally:
        listener.close()


@pytest.mark.parametrize("name", [NAME, "org.freedesktop.LowMemoryMonitor"])
def test_nobody_but_root_and_okoomers_user_takes_its_names(scene: Scene, name: str) -> None:
    def takes(user: int) -> subprocess.CompletedProcess[str]:
        bus = ("-d", "org.freedesktop.DBus", "-o", "/org/freedesktop/DBus", "-m", "org.freedesktop.DBus.RequestName")
        return ran("gdbus", "call", "--system", *bus, name, "uint32 4", user=user)

    assert "is not allowed to own" in takes(OTHER).stderr
    assert [takes(user).stdout for user in (COURIER_UID, 0)] == ["(uint32 1,)\n"] * 2


def test_what_is_put_on_every_screen_comes_from_the_systems_own_only(scene: Scene) -> None:
    signal_of = ("-o", "/", "-s", "net.nuetzlich.SystemNotifications.Notify")
    listener = Listener()
    try:
        for user in (OTHER, COURIER_UID, 0):
            ran("gdbus", "emit", "--system", *signal_of, f"of {user}", "", user=user)
        until(lambda: len(listener.heard) == 2)
        assert [heard.words[0] for heard in listener.heard] == [f"of {COURIER_UID}", "of 0"]
    finally:
        listener.close()
