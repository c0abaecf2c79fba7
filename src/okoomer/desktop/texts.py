"""What is put on the screen: the words, the buttons and how urgent it is, from what org.okoomer.Okoomer1 tells. Pure.

Details are dictionaries with the keys of docs/dbus.md. Whatever is missing or of another type is left out of the text.
"""

from __future__ import annotations

from time import localtime, strftime

from okoomer.events.markup import unescape
from okoomer.events.model import END, IN_SIGHT, LIMIT, PAUSE, RESUME
from okoomer.events.text import harmless
from okoomer.events.unanswered import unanswered
from okoomer.record import Record
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

#: Urgencies, and what a notification has for a time (milliseconds), by the Desktop Notifications Specification.
QUIET, USUAL, URGENT = 0, 1, 2
SERVERS_OWN, STAYS = -1, 0
#: The button that is no button: what a click on the notification itself is.
DEFAULT = "default"
#: Characters of a name, and of a sentence that is not ours.
NAME, SENTENCE = 40, 200
#: So many ends are told in one notification, with a line for each.
LINES = 5


class Note(Record):
    """A notification: `actions` are key and label by turns, `otherwise` is what the text says besides where there are
    no buttons. The texts are harmless but not escaped (see events.markup)."""

    summary: str
    body: str
    urgency: int = USUAL
    timeout: int = SERVERS_OWN
    actions: tuple[str, ...] = ()
    otherwise: str = ""
    icon: str = "dialog-warning"


def warning(details: Mapping[str, Any], known: bool = True) -> Note:
    """Who is growing, and how long is left; or, of an act, who is next.

    Args:
        details: Of the signal Warned.
        known: Whether the person may be told whose process it is by name.
    """
    name, acts = called(details, known), details.get("act") is True
    left, available = in_time(number(details, "left")), number(details, "available")
    body = []
    if acts:
        summary = f"{name} is the next to go" if name else "Memory is nearly full"
        body.append("Unless memory comes back, it is ended." if name else "")
    else:
        summary = f"{name} is growing" if name else "Memory is running out"
        body.append(f"At this rate memory is full{left}." if left else "")
    if available:
        body.append(f"{size(available)} is left.")
    if name and known:
        body.append("Save your work, and close what you do not need.")
    return Note(summary, " ".join(filter(None, body)))


def in_time(left: float | None) -> str:
    """` in 40 s`, or nothing if that is not in sight."""
    return f" in {span(left)}" if left is not None and 0 <= left < IN_SIGHT else ""


def question(number_of: int, details: Mapping[str, Any], now: float) -> Note:
    """What is to become of a unit?

    Args:
        number_of: The question's.
        details: As Okoomer1 gives them.
        now: Unix time.
    """
    name = called(details) or "A process"
    paused = details.get("paused") is True
    available, freed, until = (number(details, key) for key in ("available", "freed", "until"))
    want = "It wants more memory than there is" if paused else "Memory is nearly full"
    body = f"{want}: {size(available)} is left." if available else f"{want}."
    if freed:
        body += f" Its end would free {size(freed)}."
    if until is not None and until > now:
        at = strftime("%H:%M:%S", localtime(min(until, now + IN_SIGHT)))
        then = unanswered(text(details, "then"))
        body += f"\nUnless you answer, it {then} at {at}, in {span(until - now)}."
    return Note(
        f"{name} is paused" if paused else f"End {name}?",
        body,
        URGENT,
        STAYS,
        buttons(details),
        f"To answer: okoomer answer {number_of} {'|'.join(choices(details))}",
        "dialog-question",
    )


def choices(details: Mapping[str, Any]) -> list[str]:
    """What a question can be answered with, the button that matters most first: some servers show three."""
    given = details.get("choices")
    given = given if isinstance(given, (list, tuple)) else ()
    return [word for word in (RESUME, END, LIMIT, PAUSE) if word in given]


def buttons(details: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys and labels. A click on the notification itself does no harm."""
    limit = number(details, "limit")
    labels = {
        RESUME: "Resume" if details.get("paused") is True else "Keep it running",
        END: "End it",
        LIMIT: f"Limit it to {size(limit)}" if limit else "Limit it",
        PAUSE: "Pause it",
    }
    given = choices(details)
    if not given:
        return ()
    return (DEFAULT, "Leave it to the policy", *(text for word in given for text in (word, labels[word])))


#: What the guard says of an answer that it does not take, by the last part of the error's name.
_REFUSALS = {
    "NoQuestion": "The question is over already.",
    "NotYours": "The process is not yours.",
    "Refused": "It must not be touched, or it cannot be limited.",
    "Busy": "okoomer is busy with an emergency; try again.",
    "NoGuard": "okoomer's guard does not answer.",
    "BadAnswer": "It cannot be answered like that.",
}


def not_taken(error: str, details: Mapping[str, Any]) -> Note:
    """An answer was not taken.

    Args:
        error: The D-Bus error's name, or "" if nothing came back.
    """
    why = _REFUSALS.get(error.rpartition(".")[2], "okoomer does not answer.")
    return Note(f"{called(details) or 'A process'}: nothing was done", why, USUAL, icon="dialog-error")


#: Why a rule acted, by its word (policy.reason).
_REASONS = {
    "low-memory": "memory was nearly full",
    "low-memory-and-swap": "memory and swap were nearly full",
    "low-memory-and-stall": "memory was nearly full and the machine stalled",
    "low-swap": "swap was nearly full",
    "stall": "the machine stalled for want of memory",
    "forecast": "memory was about to run out",
    "cgroup-limit": "its group was at its memory limit",
    "cgroup-size": "its group held too much memory",
    "ownerless-memory": "it filled memory that belongs to no process",
    "over-share": "memory was short, and more was held than the share of one",
}


def reason_in_words(word: object) -> str:
    """Why a rule acted, or ''."""
    return _REASONS.get(word, "") if isinstance(word, str) else ""


def result(details: Mapping[str, Any], acting: Mapping[str, Any], known: bool = True) -> tuple[str, str]:
    """What was done, as a summary and a body; two empty texts if that is nothing to be told of.

    Args:
        details: Of the signal Acted.
        acting: Of the signal Acting that came before it, if that is known.
        known: Whether the person may be told whose process it is by name.
    """
    event, name = details.get("event"), called(details, known) or "a process"
    name = name.replace("a process", "A process", 1) if name.startswith("a process") else name
    reason, stood = reason_in_words(acting.get("reason")), number(details, "seconds")
    if event == "died":
        back, freed = number(details, "came_back"), number(acting, "freed")
        got = f"{size(back)} came back" if back and back > 0 else f"it held {size(freed)}" if freed else ""
        return f"{name} was ended", sentence("; ".join(filter(None, (reason, got))))
    if event == "stuck":
        return f"{name} will not end", sentence(text(details, "why"))
    if event == "refused":
        return "Memory is nearly full, and nobody can be ended", sentence(text(details, "why"))
    if event == "paused":
        return f"{name} is paused", sentence(reason)
    if event == "resumed":
        return f"{name} runs again", f"It stood still for {span(stood)}." if stood else ""
    if event == "limited":
        ceiling = number(details, "bytes")
        return f"{name} is limited", f"It gets no more than {size(ceiling)} of memory." if ceiling else ""
    if event == "slowed":
        return f"{name} is slowed down", sentence(reason)
    if event == "eased":
        return f"{name} is slowed down no more", f"It was for {span(stood)}." if stood else ""
    if event == "recovered":
        name = called(acting, known)
        return "Memory came back", f"{name} goes on." if name else ""
    return "", ""


def sentence(given: str) -> str:
    """Words, whoever they are from, as a sentence; '' if there are none."""
    said = shortened(one_line(given), SENTENCE)
    return said and said[0].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")


def ended(results: Sequence[tuple[str, str]]) -> Note:
    """Some results in one notification, the latest first."""
    if len(results) == 1:
        return Note(*results[0], USUAL, STAYS, icon="dialog-information")
    latest = list(reversed(results))
    lines = [f"{summary}. {body}".rstrip() for summary, body in latest[1:LINES]]
    if len(latest) > LINES:
        lines.append(f"and {len(latest) - LINES} more")
    summary, body = latest[0]
    return Note(summary, "\n".join(filter(None, (body, *lines))), USUAL, STAYS, icon="dialog-information")


def foreign(words: Sequence[object]) -> Note | None:
    """What another daemon has sent: a summary and a body, either of which it may leave out. Hostile text."""
    said = [word for word in words if isinstance(word, str)][:2]
    if not any(said):
        return None
    # Senders escape markup in the body for systembus-notify, which hands it on as it is.
    summary, body = shortened(one_line(said[0]), NAME * 2), unescape(said[1]) if len(said) > 1 else ""
    lines = [shortened(harmless(line), SENTENCE) for line in body.splitlines()[:8]]
    return Note(summary or "System", "\n".join(lines))


# --- pieces --------------------------------------------------------------------------------------------------------


def text(details: Mapping[str, Any], key: str) -> str:
    """A text, or ''."""
    found = details.get(key)
    return found if isinstance(found, str) else ""


def number(details: Mapping[str, Any], key: str) -> float | None:
    """A finite number, or None."""
    found = details.get(key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not abs(found) < 1e300:
        return None
    return found


def called(details: Mapping[str, Any], known: bool = True) -> str:
    """The name of a unit for people, or '' if it has none: of a cgroup the last part of its path."""
    name = text(details, "name")
    if name and not known:
        return "a process of another user"
    return shortened(one_line(name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name), NAME)


def one_line(given: str) -> str:
    return harmless(given.strip())


def shortened(given: str, room: int) -> str:
    """As much of a text as has room, with both its ends."""
    if len(given) <= room:
        return given
    tail = room // 3
    return f"{given[: room - tail - 1]}…{given[-tail:]}"


def span(seconds: float) -> str:
    """A time for people."""
    if seconds < 90.5:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{round(minutes / 60)} h"
