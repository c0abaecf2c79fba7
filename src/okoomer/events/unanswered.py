"""What becomes of a unit about which nobody answers, in the words that all use who tell of a question."""

from __future__ import annotations

from okoomer.events.model import PAUSE, RESUME

_WORDS = {
    RESUME: "goes on",
    PAUSE: "is paused",
    "slow": "is slowed down",
    "ask": "is asked about again",
    "term": "is told to end",
    "oom": "is ended",
    "kill": "is ended",
}


def unanswered(then: str) -> str:
    """What it does, to be put behind a name or `it`.

    Args:
        then: As in model.Question.
    """
    return _WORDS.get(then, "is left to the policy")
