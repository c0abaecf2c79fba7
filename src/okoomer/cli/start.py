"""Starting what stays: the courier, where the policy wants one, and then the guard in the place of this process."""

from __future__ import annotations

import os

from okoomer.guard.launch import ASKED, Options, launch
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from okoomer.courier import Place


def start(options: Options, place: Place | None = None, listener: int = -1) -> NoReturn:
    """Becomes the guard; or, where a guard has asked for its policy anew, gives that to it and ends.

    Args:
        place: That of systemd-oomd, if the courier is to take it.
        listener: The socket at which users' managers report on their units, or -1.

    Raises:
        OSError: The guard cannot be executed.
    """
    policy = options.policy
    if policy.runs and not for_reload():
        from okoomer import courier

        os.makedirs(options.runtime_dir, 0o750, exist_ok=True)  # noqa: PTH103 (pathlib takes 8 ms)
        hierarchy = ""
        if policy.managed:
            from okoomer.kernel import cgroup
            from okoomer.kernel.machine import LIVE

            hierarchy = cgroup.hierarchy(LIVE) or ""
        wake, answers = courier.start(
            courier.Options(
                f"{options.runtime_dir}/ring", policy.plain_hooks, policy.notify, options.voice, hierarchy, place=place
            ),
            listener,
        )
        options = replace(options, wake=wake, answers=answers)
    launch(options)


def for_reload() -> bool:
    """Whether a guard that runs has asked for the policy: then neither is it in the way, nor is anything started."""
    return ASKED in os.environ
