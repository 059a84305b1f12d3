"""The reason of a decision: a code for programs and a text for people. No code reads the text."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Reason", "ReasonCode", "invalid", "not_now"]


class ReasonCode(StrEnum):
    """What happened, for programs: in decisions, their records, ``attention`` and problems of the API.

    Requests: ``invalid``: its content cannot be used. ``wrong-status``: not possible in the current status of the
    instance or step; ``past-pivot`` and ``paused`` are cases of it that a caller can act on. ``revision-differs``: it
    has changed since the caller looked. ``not-permitted``: the caller is not among those who may.
    ``nothing-to-change``: the request is already fulfilled. ``queued``: a start waits until the run before it has
    ended.

    Messages: ``duplicate``: it came before. ``stale``: nothing waits for it, or no longer. ``misdirected``: it is not
    for this entity. ``answered``: it was answered without a change.

    The code: ``code-not-deployed``; ``code-differs``: the deployed code does not match the record.
    ``function-raised`` and ``wrong-result``: of the author's functions. ``engine-failed``: a bug in the engine.
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
    REQUEST_TAKEN = "request-taken"
    VERSION_DIFFERS = "version-differs"
    REVISION_DIFFERS = "revision-differs"
    NO_ROOM = "no-room"
    INVALID = "invalid"
    NOT_PERMITTED = "not-permitted"
    WRONG_STATUS = "wrong-status"
    PAST_PIVOT = "past-pivot"
    PAUSED = "paused"
    NOTHING_TO_CHANGE = "nothing-to-change"
    QUEUED = "queued"
    DUPLICATE = "duplicate"
    STALE = "stale"
    MISDIRECTED = "misdirected"
    ANSWERED = "answered"

    @property
    def wants_code(self) -> bool:
        """True when the deployed code was missing or did not match: other code may decide otherwise."""
        return self in (ReasonCode.CODE_NOT_DEPLOYED, ReasonCode.CODE_DIFFERS)


class Reason(NamedTuple):
    """A code, and the text that tells people what to do next."""

    code: ReasonCode
    text: str


def invalid(text: str) -> Reason:
    """The reason that the content of a request cannot be used."""
    return Reason(ReasonCode.INVALID, text)


def not_now(text: str) -> Reason:
    """The reason that a request is not possible in the current status of the instance or step."""
    return Reason(ReasonCode.WRONG_STATUS, text)
