"""The entity of a dead letter: decides once whether it is redriven. A pure function: entity and request to answer.

- Its document is the mark. The redriven record is written in the commit that stores the mark, so a redrive that is
  repeated, interrupted or sent by two people loses nothing and doubles nothing.
- A letter of a group goes to the parcel of its key: no other group gets it again.
- The mark outlives its letter: requests are denied after ``Limits.dead_retention_ms``, and the mark goes a day later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from pydantic_core import to_json

from ..messages.dead import DeadAct, DeadRequest
from ..messages.entities import DeadMark, DeadStatus
from ..messages.outputs import Action, Answer, Forward, Outcome, Tell
from ..messages.parcels import Letter, Posted, RetryPolicy, from_base64, parcel_id, single_id
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from .letter_edits import edit_wrong
from .limits import Limits

__all__ = ["decide_dead", "why_not"]

_EXPIRY = "expiry"
_DAY_MS = 24 * 3_600_000
_REQUESTS_MAX = 16
_RETRY = RetryPolicy(max_attempts=5, first_ms=1_000, factor=2.0, most_ms=60_000)
"""Of a key that has no parcel; one that has keeps its policy."""


def decide_dead(mark: DeadMark | None, message: DeadRequest, now_ms: int, limits: Limits) -> Answer:
    """Decides a request about a dead letter."""
    if mark is not None and message.id in mark.requests:
        return _same(mark, Reason(ReasonCode.DUPLICATE, "this request was carried out already"), Outcome.UNCHANGED)
    if (done := _done(mark, message.act)) is not None:
        return _same(mark, Reason(ReasonCode.NOTHING_TO_CHANGE, done), Outcome.UNCHANGED)
    if (reason := why_not(mark, message.act, message.dead_ms, now_ms, limits)) is not None:
        return _same(mark, reason, Outcome.DENIED)
    expiry_ms = message.dead_ms + limits.dead_retention_ms + _DAY_MS
    before = mark or DeadMark(id=message.instance, timers={_EXPIRY: expiry_ms})
    after = replace(
        before,
        revision=before.revision + 1,
        by=message.by,
        reason=message.reason,
        at_ms=now_ms,
        requests=(*before.requests, message.id)[-_REQUESTS_MAX:],
    )
    match message.act:
        case DeadAct.EDIT:
            return _edit(mark, after, message, limits)
        case DeadAct.DISCARD:
            return Answer(entity=replace(after, status=DeadStatus.DISCARDED), outcome=Outcome.APPLIED)
        case DeadAct.REDRIVE:
            letter = after.edited or message.letter
            if letter is None:
                return _same(mark, invalid("a redrive needs the letter"), Outcome.DENIED)
            after = replace(after, status=DeadStatus.REDRIVEN)
            return Answer(entity=after, outcome=Outcome.APPLIED, actions=(_again(letter, message),))
        case _:
            assert_never(message.act)


def why_not(mark: DeadMark | None, act: DeadAct, dead_ms: int, now_ms: int, limits: Limits) -> Reason | None:
    """Why the act is not possible now, and what to do instead; None: it is possible, or done already."""
    status = mark.status if mark is not None else DeadStatus.OPEN
    if now_ms > dead_ms + limits.dead_retention_ms:
        days = limits.dead_retention_ms // _DAY_MS
        text = f"it is older than {days} days, and whether it was redriven is no longer known; copy it by hand"
        return not_now(text)
    if status is DeadStatus.REDRIVEN and act is not DeadAct.REDRIVE:
        return not_now(f"it was redriven{_by(mark)}; if it failed again, there is a newer letter")
    if status is DeadStatus.DISCARDED and act is DeadAct.EDIT:
        return not_now(f"it was discarded{_by(mark)}; redrive it as it is")
    return None


def _done(mark: DeadMark | None, act: DeadAct) -> str | None:
    if mark is None:
        return None
    if mark.status is DeadStatus.REDRIVEN and act is DeadAct.REDRIVE:
        return f"it was redriven already{_by(mark)}"
    if mark.status is DeadStatus.DISCARDED and act is DeadAct.DISCARD:
        return f"it was discarded already{_by(mark)}"
    return None


def _edit(mark: DeadMark | None, after: DeadMark, message: DeadRequest, limits: Limits) -> Answer:
    letter = after.edited or message.letter
    if letter is None or (message.value is None and message.headers is None):
        return _same(mark, invalid("give a value, headers or both"), Outcome.DENIED)
    edited = replace(
        letter,
        value=letter.value if message.value is None else message.value,
        headers=letter.headers if message.headers is None else message.headers,
    )
    if edited == letter:
        return _same(mark, Reason(ReasonCode.NOTHING_TO_CHANGE, "the letter is already so"), Outcome.UNCHANGED)
    if (wrong := edit_wrong(letter, edited)) is not None:
        return _same(mark, Reason(ReasonCode.INVALID, wrong), Outcome.DENIED)
    after = replace(after, edited=edited)
    if (size := len(to_json(after))) > limits.document_bytes:
        most = f"{limits.document_bytes:,}"
        text = f"the edited letter would have {size:,} bytes, the limit is {most}; send it as a new message instead"
        return _same(mark, Reason(ReasonCode.TOO_LARGE, text), Outcome.DENIED)
    return Answer(entity=after, outcome=Outcome.APPLIED)


def _again(letter: Letter, message: DeadRequest) -> Action:
    """The original goes where it was: to its topic, or to the parcel of its key."""
    key, value = from_base64(letter.key), from_base64(letter.value)
    if not message.group or letter.source is None:
        partition = letter.partition if key is None else None
        return Forward(topic=letter.topic, partition=partition, key=key, value=value, headers=letter.raw_headers)
    to = parcel_id(message.group, key) if key is not None else single_id(message.group, letter.source)
    return Tell(
        message=Posted(
            id=f"{message.id}/posted",
            instance=to,
            letter=letter,
            group=message.group,
            redeliver_to=message.redeliver_to,
            redeliver_partition=letter.source.partition,
            retry=_RETRY,
            again=True,
        )
    )


def _by(mark: DeadMark | None) -> str:
    if mark is None:
        return ""
    return f"{f' by {mark.by}' if mark.by else ''}{f' ({mark.reason})' if mark.reason else ''}"


def _same(mark: DeadMark | None, reason: Reason, outcome: Outcome) -> Answer:
    return Answer(entity=mark, outcome=outcome, code=reason.code, reason=reason.text)
