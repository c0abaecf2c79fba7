"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it could be. `wrong` costs a feature; the others are advice."""

    wrong: bool
    what: str
    cost: str
    mend: str
