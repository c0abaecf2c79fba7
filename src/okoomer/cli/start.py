"""Starting what stays: the watcher, the canary and the courier, where they are wanted, and then the guard in the place
of this process."""

from __future__ import annotations

import os
import sys

from okoomer.guard.launch import ASKED, Options, changes, launch, needs_canary
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from okoomer.courier import Place, Services


def start(
    options: Options,
    place: Place | None = None,
    listener: int = -1,
    services: Services | None = None,
    apart: bool = False,
) -> NoReturn:
    """Becomes the guard; or, where a guard has asked for its policy anew, gives that to it and ends.

    Args:
        place: That of systemd-oomd, if the courier is to take it.
        listener: The socket at which users' managers report on their units, or -1.
        services: What the courier is to offer besides, or None for nothing.
        apart: Another courier comes to the guard's door, and does all that does not need the guard's own user.

    Raises:
        OSError: The guard cannot be executed.
    """
    policy = options.policy
    if not for_reload():
        make(options.runtime_dir, options.open)
        if options.open or changes(policy):
            from okoomer.guard import watcher

            try:
                # First of all: nobody who is started later may have the end that the guard holds.
                fd = watcher.start(f"{options.runtime_dir}/paused")
                os.set_inheritable(fd, False)
                options = replace(options, watcher=fd)
            except OSError as error:
                why = error.strerror or error
                print(
                    f"okoomer: if the guard is killed, whoever is paused waits for the next one: {why}", file=sys.stderr
                )
        if needs_canary(policy):
            options = _with_canary(options)
        if services is not None or (policy.needs_rights if apart else policy.runs):
            options = _with_courier(options, place, listener, services, apart)
        for fd in (options.watcher, options.canary, options.page):
            if fd >= 0:
                os.set_inheritable(fd, True)
    launch(options)


def _with_canary(options: Options) -> Options:
    from okoomer.guard import canary_start

    try:
        line, page = canary_start.start()
    except OSError as error:
        print(f"okoomer: there is no canary: {error.strerror or error}", file=sys.stderr)
        return options
    return replace(options, canary=line, page=page)


def _with_courier(
    options: Options, place: Place | None, listener: int, services: Services | None, apart: bool
) -> Options:
    from okoomer import courier
    from okoomer.courier.launch import ALL, OWN

    policy, hierarchy = options.policy, ""
    if policy.managed:
        from okoomer.kernel import cgroup
        from okoomer.kernel.machine import LIVE

        hierarchy = cgroup.hierarchy(LIVE) or ""
    wanted = courier.Options(
        f"{options.runtime_dir}/ring",
        policy.plain_hooks,
        policy.notify,
        options.voice,
        hierarchy,
        place=place,
        part=OWN if apart else ALL,
        services=services,
        runtime_dir=options.runtime_dir if services else "",
    )
    wake, answers = courier.start(wanted, listener)
    return replace(options, wake=wake, answers=answers)


def make(directory: str, open_to_others: bool) -> None:
    """Makes a runtime directory, if it is not there.

    Args:
        open_to_others: They have to come through it to the guard's door; what they must not read has a mode of its own.

    Raises:
        OSError: It cannot be made.
    """
    mode = 0o751 if open_to_others else 0o750
    try:
        os.makedirs(directory, mode)  # noqa: PTH103 (pathlib takes 8 ms)
        os.chmod(directory, mode)  # noqa: PTH101 (whatever the umask is)
    except FileExistsError:
        pass  # whoever made it knows who may come through it


def for_reload() -> bool:
    """Whether a guard that runs has asked for the policy: then neither is it in the way, nor is anything started."""
    return ASKED in os.environ
