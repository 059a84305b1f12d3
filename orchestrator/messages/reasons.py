"""Why a decision came out as it did: a code for programs, and a text for people. No code looks into the text."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Reason", "ReasonCode", "invalid", "not_now"]


class ReasonCode(StrEnum):
    """What happened, for programs: in decisions, their records, ``attention`` and problems of the API.

    Requests: ``invalid``: what it brings cannot be used. ``wrong-status``: it is not possible as the instance or the
    step stands now; ``past-pivot`` and ``paused`` are cases of it that a caller can act on. ``not-permitted``: whoever
    asks is not among those who may. ``nothing-to-change``: it is so already.

    Messages: ``duplicate``: it was here before. ``stale``: nothing waits for it, or not any more. ``misdirected``: it
    is none for this entity. ``answered``: it was answered, and nothing had to change.

    The code: ``code-not-deployed``, and ``code-differs``: what is deployed does not fit what is on record.
    ``function-raised`` and ``wrong-result`` are about the author's functions, ``engine-failed`` is a defect of ours.
    """

    CODE_NOT_DEPLOYED = "code-not-deployed"
    CODE_DIFFERS = "code-differs"
    FUNCTION_RAISED = "function-raised"
    WRONG_RESULT = "wrong-result"
    ENGINE_FAILED = "engine-failed"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    NO_SUCH_INSTANCE = "no-such-instance"
    KEY_TAKEN = "key-taken"
    VERSION_DIFFERS = "version-differs"
    NO_ROOM = "no-room"
    INVALID = "invalid"
    NOT_PERMITTED = "not-permitted"
    WRONG_STATUS = "wrong-status"
    PAST_PIVOT = "past-pivot"
    PAUSED = "paused"
    NOTHING_TO_CHANGE = "nothing-to-change"
    DUPLICATE = "duplicate"
    STALE = "stale"
    MISDIRECTED = "misdirected"
    ANSWERED = "answered"

    @property
    def wants_code(self) -> bool:
        """The deployed code was missing or did not fit: with other code it may come out otherwise."""
        return self in (ReasonCode.CODE_NOT_DEPLOYED, ReasonCode.CODE_DIFFERS)


class Reason(NamedTuple):
    """A code, and the text that tells people what to do next."""

    code: ReasonCode
    text: str


def invalid(text: str) -> Reason:
    """What a request brings cannot be used."""
    return Reason(ReasonCode.INVALID, text)


def not_now(text: str) -> Reason:
    """What is asked for is not possible as the instance or the step stands now."""
    return Reason(ReasonCode.WRONG_STATUS, text)
