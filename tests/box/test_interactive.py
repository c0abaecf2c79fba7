"""Programs that somebody types into are paused and resumed again and again on a busy machine: none loses its terminal,
its job, or what was typed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.terminal import ROUNDS, Person, Terminal, person, until

pytestmark = pytest.mark.timeout(120 + 10 * ROUNDS)

SHELL = ("bash", "--norc", "--noprofile", "-i")


@pytest.fixture
def somebody(box: Box, tmp_path: Path) -> Iterator[Person]:
    with person(box, tmp_path) as made:
        yield made


@pytest.fixture
def terminal(box: Box) -> Iterator[Callable[..., Terminal]]:
    """Opens a terminal with a program in it."""
    opened: list[Terminal] = []

    def open_(*argv: str) -> Terminal:
        opened.append(Terminal(box, *argv))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"not installed here: {program}")


def usable(shell: Terminal) -> None:
    """The shell takes a line and does it."""
    shell.command("echo $((6 * 7))nd")
    shell.wait("42nd")


@needs("nano")
def test_an_editor_has_every_character_and_its_terminal(
    somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    file = tmp_path / "text"
    shell = terminal(*SHELL)
    shell.wait("ready> ")
    before = shell.settings
    shell.command(f"nano -I {file}")
    editor = somebody.find(shell.leader, "nano")
    shell.wait("GNU nano")
    until(lambda: shell.settings != before, "the editor to have its terminal")
    while_edited, group = shell.settings, shell.foreground
    lines = [f"{number}: before, and while it stands still" for number in range(ROUNDS)]
    for line in lines:
        shell.type(line[:10])
        somebody.pause(editor)
        shell.type(line[10:] + "\r")
        somebody.resume(editor)
        assert (shell.foreground, shell.settings) == (group, while_edited)
    shell.type("\x0f")
    shell.wait("File Name to Write")
    shell.type("\r")
    shell.wait("Wrote")
    shell.said = b""
    shell.type("\x18")
    shell.wait("ready> ")
    assert file.read_text() == "".join(f"{line}\n" for line in [*lines, ""])
    until(lambda: shell.settings == before, "the terminal to be as it was")
    usable(shell)


def test_a_pipeline_goes_on_in_the_foreground_with_all_its_data(
    somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    enough, out = tmp_path / "enough", tmp_path / "out"
    shell = terminal(*SHELL)
    shell.wait("ready> ")
    at_prompt = shell.foreground
    counter = f"i=0; while [ ! -e {enough} ]; do i=$((i+1)); echo $i; sleep 0.01; done; echo $i > {tmp_path}/count"
    shell.command(f"{{ {counter}; }} | sort -n | tee {out} | wc -l")
    until(lambda: len(somebody.below(shell.leader)) == 4 and shell.foreground != at_prompt, "the pipeline")
    job, group = somebody.below(shell.leader), shell.foreground
    for _ in range(ROUNDS):
        somebody.pause(*job)
        somebody.resume(*job)
        assert shell.foreground == group and somebody.below(shell.leader) == job
    enough.touch()
    shell.wait("ready> ")
    count = int((tmp_path / "count").read_text())
    assert count > ROUNDS and out.read_text().split() == [str(number) for number in range(1, count + 1)]
    assert f"{count}\r\n".encode() in shell.said and b"Stopped" not in shell.said
    usable(shell)


def test_ctrl_c_that_is_typed_while_a_job_stands_still_reaches_it_afterwards(
    somebody: Person, terminal: Callable[..., Terminal]
) -> None:
    shell = terminal(*SHELL)
    shell.command("sleep 1000")
    for _ in range(ROUNDS):
        job = somebody.find(shell.leader, "sleep")
        somebody.pause(job)
        shell.type("\x03")
        assert somebody.state(job) == "T" and b"ready> " not in shell.said
        somebody.let_go(job)
        shell.command("echo $?th; sleep 1000")
        shell.wait("130th")
        assert b"Stopped" not in shell.said


def test_ctrl_z_that_is_typed_while_a_job_stands_still_holds_afterwards(
    somebody: Person, terminal: Callable[..., Terminal]
) -> None:
    shell = terminal(*SHELL)
    shell.command("sleep 1000")
    job = somebody.find(shell.leader, "sleep")
    somebody.pause(job)
    shell.type("\x1a")
    assert b"Stopped" not in shell.said
    somebody.let_go(job)
    shell.wait("Stopped")
    usable(shell)
    shell.command("fg")
    until(lambda: somebody.state(job) == "S", "the job to run")


@needs("nano")
def test_a_shell_whose_job_stands_still_for_long_has_its_terminal_meanwhile_and_fetches_the_job(
    somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    file = tmp_path / "text"
    shell = terminal(*SHELL)
    shell.command(f"nano -I {file}")
    editor = somebody.find(shell.leader, "nano")
    shell.wait("GNU nano")
    group = shell.foreground
    shell.type("some words")
    shell.wait("some words")
    somebody.pause(editor)
    assert shell.foreground == group and b"Stopped" not in shell.said
    shell.wait("Stopped")
    usable(shell)
    somebody.let_go(editor)
    # It runs, wants the terminal that it has not, and is stopped for that; a shell that is asked in between for a job
    # which it takes to be running does not have it run.
    until(lambda: somebody.state(editor) == "T", "the editor to be stopped for want of its terminal")
    shell.command("fg")
    until(lambda: shell.foreground == group, "the editor to have its terminal")
    shell.type(" and more\x0f")
    shell.wait("File Name to Write")
    shell.type("\r")
    shell.wait("Wrote")
    assert file.read_text() == "some words and more\n"
    shell.said = b""
    shell.type("\x18")
    usable(shell)


def test_a_shell_goes_on_when_the_guard_is_killed_while_its_job_stands_still(
    box: Box, somebody: Person, terminal: Callable[..., Terminal]
) -> None:
    shell = terminal(*SHELL)
    shell.command("sleep 1000")
    job = somebody.find(shell.leader, "sleep")
    somebody.pause(job)
    somebody.guard.kill()
    until(lambda: somebody.state(job) != "T", "the job to run")
    until(lambda: somebody.state(shell.leader) != "t", "the shell to run")
    box.spawn(["kill", "-INT", str(job)]).wait(60)
    usable(shell)


@pytest.mark.parametrize("as_root", ["sudo", "su root --session-command", "su root --command"])
def test_who_runs_a_command_as_somebody_else_goes_on_with_it(
    somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path, as_root: str
) -> None:
    if shutil.which(as_root.split()[0]) is None:
        pytest.skip(f"not installed here: {as_root.split()[0]}")
    script = tmp_path / "echo.sh"
    script.write_text('while read -r line; do echo "heard $line"; done\n')
    shell = terminal(*SHELL)
    quoted = f"dash {script}" if as_root == "sudo" else f"'exec dash {script}'"
    shell.command(f"{as_root} {quoted}")
    command = somebody.find(shell.leader, "dash")
    shell.type("first\r")
    shell.wait("heard first")
    group = shell.foreground
    for number in range(ROUNDS):
        somebody.pause(command)
        shell.type(f"line {number}\r")
        somebody.resume(command)
        shell.wait(f"heard line {number}\r\n")
        assert shell.foreground == group
    shell.said = b""
    shell.type("\x04")
    usable(shell)


@needs("tmux")
def test_of_six_panes_five_go_on_while_one_stands_still(
    box: Box, somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    script, socket = tmp_path / "note.sh", str(tmp_path / "tmux")
    script.write_text('while read -r line; do echo "$line" >> "$1"; done\n')

    def tmux(*words: str) -> None:
        death = box.spawn(["tmux", "-S", socket, *words]).wait(60)
        assert death.code == 0, words

    terminal("tmux", "-S", socket, "-f", "/dev/null", "new-session", "-x", "120", "-y", "40", *SHELL)
    until(lambda: Path(socket).exists(), "the server")
    for _ in range(5):
        tmux("split-window", "-d", *SHELL)
        tmux("select-layout", "tiled")
    notes = [tmp_path / f"pane{number}" for number in range(6)]
    for number, note in enumerate(notes):
        tmux("send-keys", "-t", f":.{number}", f"exec 3>&1; dash {script} {note}", "Enter")
    server = next(
        int(entry.name)
        for entry in box.proc.iterdir()
        if entry.name.isdigit() and (entry / "comm").read_text() == "tmux: server\n"
    )

    def by_what_they_write() -> dict[str, int]:
        jobs = [job for shell in somebody.below(server) for job in somebody.below(shell)]
        return {(box.proc / f"{job}/cmdline").read_bytes().split(b"\0")[2].decode(): job for job in jobs}

    # One that is still being loaded looks like the shell that it was.
    until(lambda: by_what_they_write().keys() == {*map(str, notes)}, "six programs")
    by_note = by_what_they_write()
    programs = list(by_note.values())

    for number in range(ROUNDS):
        still = number % 6
        job = by_note[str(notes[still])]
        somebody.pause(job)
        for pane in range(6):
            tmux("send-keys", "-t", f":.{pane}", f"line {number}", "Enter")
        expected = [f"line {before}" for before in range(number + 1)]
        for pane in {*range(6)} - {still}:
            has(notes[pane], expected)
        assert somebody.state(job) == "T" and lines(notes[still]) == expected[:-1]
        assert all(somebody.state(one) != "T" for one in (server, *programs) if one != job)
        somebody.resume(job)
        has(notes[still], expected)
    tmux("kill-server")


@needs("tmux")
@needs("nano")
def test_an_editor_in_a_multiplexer_has_its_screen_as_it_was(
    box: Box, somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    socket, file = str(tmp_path / "tmux"), tmp_path / "text"

    def tmux(*words: str) -> str:
        done = box.daemon(["tmux", "-S", socket, *words])
        assert done.wait(60).code == 0, words
        return "\n".join(line.text for line in done.lines)

    def shown() -> list[str]:
        """The screen, without a message of the editor's that goes away by itself."""
        return [line for line in tmux("capture-pane", "-p").splitlines() if line.strip() and "New File" not in line]

    outer = terminal("tmux", "-S", socket, "-f", "/dev/null", "new-session", "-x", "120", "-y", "40", *SHELL)
    outer.wait("ready> ")
    tmux("send-keys", f"nano -I {file}", "Enter")
    server = next(
        int(entry.name)
        for entry in box.proc.iterdir()
        if entry.name.isdigit() and (entry / "comm").read_text() == "tmux: server\n"
    )
    editor = somebody.find(server, "nano")
    tmux("send-keys", "a line of words")
    until(lambda: "a line of words" in tmux("capture-pane", "-p"), "the words")
    before = shown()
    for _ in range(ROUNDS):
        somebody.pause(editor)
        somebody.resume(editor)
    until(lambda: shown() == before, "the screen to be as it was")
    tmux("send-keys", " and more")
    until(lambda: "a line of words and more" in tmux("capture-pane", "-p"), "more words")
    tmux("kill-server")


def has(file: Path, expected: list[str]) -> None:
    until(lambda: lines(file) == expected, f"{expected[-1]} in {file}")


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_a_shell_that_is_killed_while_its_job_stands_still_is_gone_for_its_parent_too(
    box: Box, somebody: Person, terminal: Callable[..., Terminal]
) -> None:
    shell = terminal("sh", "-c", "bash --norc --noprofile -i; echo over")
    shell.wait("ready> ")
    shell.type("sleep 1000\r")
    bash = somebody.find(shell.leader, "bash")
    job = somebody.find(bash, "sleep")
    somebody.pause(job)
    until(lambda: somebody.state(bash) == "t", "the shell to be held")
    box.spawn(["kill", "-KILL", str(bash)]).wait(60)
    shell.wait("over")


@needs("sudo")
def test_a_command_of_sudo_and_sudo_go_on_when_the_guard_is_killed(
    somebody: Person, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """Below a script nobody would fetch sudo from the background."""
    script = tmp_path / "echo.sh"
    script.write_text('while read -r line; do echo "heard $line"; done\n')
    shell = terminal("sh", "-c", f"sudo dash {script}; echo over")
    command = somebody.find(shell.leader, "dash")
    shell.type("first\r")
    shell.wait("heard first")
    somebody.pause(command)
    somebody.guard.kill()
    shell.type("second\r")
    shell.wait("heard second")
    shell.type("\x04")
    shell.wait("over")
