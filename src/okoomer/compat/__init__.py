"""Other daemons' configurations, translated into policies: what they say is run by the one engine there is."""

from __future__ import annotations

from okoomer.policy.model import Policy
from okoomer.record import Record


class Translation(Record):
    """A policy, and a note for each place where it knowingly differs: (rule, key or "", sentence)."""

    policy: Policy
    notes: tuple[tuple[str, str], ...]
