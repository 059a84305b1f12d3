"""Erasing the personal data of a subject: the last one is the table ``personal.erased``, all are in its history.

The decision that sets the table writes the tombstones of the keys in the same commit, so that nothing is erased without
a record of who did it and why, and nothing is recorded that was not done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from .entity_messages import Rule

__all__ = ["ERASED_TABLE", "check_erased", "erased_of", "records_of", "rule_of_erased"]

ERASED_TABLE: Final = "personal.erased"
_TO: Final = "erased"
_ID: Final = re.compile(r"[0-9a-f]{16}")
_KEYS_MAX: Final = 1_000


def rule_of_erased(subject: str, keys: Sequence[str]) -> Rule:
    """The request to erase these keys of a subject."""
    return Rule(when={"subject": subject, "keys": list(keys)}, to=_TO)


def erased_of(rules: Sequence[Rule]) -> tuple[str, tuple[str, ...]]:
    """The subject and the ids of its keys; of rules that ``check_erased`` has accepted."""
    when = rules[0].when
    keys = when["keys"]
    return str(when["subject"]), tuple(map(str, keys)) if isinstance(keys, list) else ()


def records_of(key: str) -> tuple[str, str]:
    """The records that a key may have: its first one, and the one by which it was sealed anew."""
    return key, f"{key}~"


def check_erased(rules: Sequence[Rule]) -> str | None:
    """What is wrong with them, and how to fix it; None: they are valid."""
    if len(rules) != 1 or rules[0].to != _TO or rules[0].when.keys() != {"subject", "keys"}:
        return "give one rule with the subject and the ids of its keys"
    subject, keys = rules[0].when["subject"], rules[0].when["keys"]
    if not isinstance(subject, str) or not subject:
        return "the subject is not a text"
    if not isinstance(keys, list) or not 0 < len(keys) <= _KEYS_MAX:
        return f"the keys are no list of 1 to {_KEYS_MAX:,} ids"
    if not all(isinstance(each, str) and _ID.fullmatch(each) for each in keys):
        return "the id of a key has 16 hexadecimal digits"
    return None
