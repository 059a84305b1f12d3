"""A parcel: a delayed message, or the messages of a key of a group from the first that failed on, in their order.

- A delayed message is forwarded to its topic when its time has come, in the commit that removes the parcel.
- The first letter of a key is redelivered after the backoff of its policy, one at a time; its outcome decides. ``ok``:
  the next letter at once. Attempts used up, or poison: the parcel is parked until an operator acts.
- A redelivery without an outcome is not repeated by a timer: its topic is at least once by itself.
- An empty parcel forwards a release to each partition that has posted to it, with the last offset it has posted, and
  stays for a while. A letter that it has had is dropped, but answered with the release again: the owner may not have
  seen the first. A *failure* at an offset that it has had is taken: the group reads its topic again.
- A letter that does not fit becomes a dead letter; the release counts it as posted.

The protocol with the owner of the source partition: docs/decisions/0015-the-toolkit-on-five-mechanisms.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from pydantic_core import to_json

from ...sagas.policy import backoff_ms, spread_ms
from ..messages.entities import Parcel, ParcelStatus, Route
from ..messages.outputs import Action, Answer, DeadLetter, Forward, Outcome
from ..messages.parcels import (
    ATTEMPT,
    PARCEL,
    RELEASE,
    SOURCE,
    TIMESTAMP,
    Discard,
    Edit,
    Handled,
    Letter,
    ParcelRequest,
    Posted,
    Redrive,
    Reschedule,
    RetryPolicy,
    Skip,
    Source,
    ToParcel,
    from_base64,
)
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from .letter_edits import edit_wrong
from .limits import Limits

__all__ = ["decide_parcel", "on_due"]

_DUE, _RETRY, _EXPIRY = "due", "retry", "expiry"
_OURS = {PARCEL, SOURCE, ATTEMPT, TIMESTAMP, RELEASE}
_REQUESTS_MAX = 16


def decide_parcel(parcel: Parcel | None, message: ToParcel, now_ms: int, limits: Limits) -> Answer:
    """Decides what a parcel does with a message."""
    match message:
        case Posted(due_ms=int() as due_ms):
            return _delay(parcel, message, due_ms, now_ms, limits)
        case Posted(letter=Letter(source=Source() as source), retry=RetryPolicy()):
            return _post(parcel, message, source, now_ms, limits)
        case Posted():
            return _same(parcel, ReasonCode.MISDIRECTED, "the letter has neither a time nor a source", Outcome.IGNORED)
        case Handled():
            return _handled(parcel, message, now_ms, limits)
        case Redrive() | Reschedule() | Edit() | Skip() | Discard():
            return _ask(parcel, message, now_ms, limits)
        case _:
            assert_never(message)


def on_due(parcel: Parcel, timer: str) -> Answer:
    """A timer of the parcel is due."""
    if timer == _RETRY:
        return _deliver(parcel, parcel)
    actions = (_original(parcel.letters[0]),) if timer == _DUE else ()
    return Answer(entity=None, outcome=Outcome.APPLIED, actions=actions)


def _delay(parcel: Parcel | None, message: Posted, due_ms: int, now_ms: int, limits: Limits) -> Answer:
    letter = message.letter
    if parcel is not None and not message.newest:
        return _same(parcel, ReasonCode.DUPLICATE, "this message is delayed already")
    if due_ms <= now_ms:
        return Answer(entity=None, outcome=Outcome.APPLIED, actions=(_original(letter),), reason="it is due already")
    after = Parcel(
        id=message.instance,
        status=ParcelStatus.DELAYED,
        letters=(letter,),
        begun_ms=now_ms,
        timers={_DUE: due_ms},
    )
    if (wrong := _too_large(after, limits)) is None:
        return _changed(parcel, after)
    dead = DeadLetter(reason=wrong)
    return Answer(entity=parcel, outcome=Outcome.DENIED, actions=(dead,), code=ReasonCode.TOO_LARGE, reason=wrong)


# The messages of a key


def _post(parcel: Parcel | None, message: Posted, source: Source, now_ms: int, limits: Limits) -> Answer:
    """Adds a letter. The first one was not handled yet, or has failed."""
    before = parcel or Parcel(id=message.instance, group=message.group, status=ParcelStatus.RELEASED)
    failed = message.error is not None or message.park
    old = _route(before, source)
    if old is not None and source.offset <= old.last and (before.letters or not failed) and not message.again:
        released = () if before.letters else (_release(before, old, message.letter),)
        text = "the parcel has had this letter"
        return Answer(
            entity=parcel, outcome=Outcome.UNCHANGED, actions=released, code=ReasonCode.DUPLICATE, reason=text
        )
    route = Route(
        topic=source.topic,
        partition=source.partition,
        redeliver_to=message.redeliver_to,
        redeliver_partition=message.redeliver_partition,
        last=source.offset if old is None or not message.again else max(source.offset, old.last),
    )
    others = tuple(each for each in before.routes if each is not old)
    known = replace(before, routes=(*others, route), retry=(message.again and before.retry) or message.retry)
    after = replace(known, letters=(*before.letters, message.letter))
    if (wrong := _no_room(after, limits)) is not None:
        return _left_out(known, message.letter, wrong, now_ms, limits)
    if before.letters:
        return _changed(parcel, after)
    first = replace(after, begun_ms=now_ms, requests=())
    if not failed:
        return _deliver(parcel, first)
    made = max(1, message.attempts)
    first = replace(first, attempts=made, error=message.error or "", detail=message.detail, failed_ms=now_ms)
    return _changed(parcel, _after_failure(first, message.park, now_ms))


def _left_out(parcel: Parcel, letter: Letter, wrong: str, now_ms: int, limits: Limits) -> Answer:
    """The letter becomes a dead letter. A parcel without others releases the key at once."""
    dead, route = DeadLetter(reason=wrong, letter=letter), parcel.routes[-1]
    if parcel.letters:
        answer = _changed(parcel, parcel, (dead,))
    else:
        kept = parcel if _too_large(parcel, limits) is None else replace(parcel, routes=(route,))
        answer = _changed(parcel, _released(kept, now_ms, limits), (dead, _release(parcel, route, letter)))
    return replace(answer, outcome=Outcome.DENIED, code=ReasonCode.NO_ROOM, reason=wrong)


def _handled(parcel: Parcel | None, message: Handled, now_ms: int, limits: Limits) -> Answer:
    awaited = None
    if parcel is not None and parcel.outstanding:
        awaited = (parcel.letters[0].source, parcel.attempts)
    if parcel is None or awaited != (message.source, message.attempt):
        return _same(parcel, ReasonCode.STALE, "no delivery waits for this outcome", Outcome.IGNORED)
    if message.ok:
        return _go_on(parcel, now_ms, limits)
    failed = replace(parcel, error=message.error, detail=message.detail, failed_ms=now_ms)
    return _changed(parcel, _after_failure(failed, message.poison, now_ms))


def _after_failure(parcel: Parcel, poison: bool, now_ms: int) -> Parcel:
    """The first letter has failed: it waits for its next attempt or, if there is none, for an operator."""
    made, retry = parcel.attempts - parcel.spent, parcel.retry
    if poison or retry is None or made >= retry.max_attempts:
        return replace(parcel, status=ParcelStatus.PARKED, outstanding=False, timers={})
    delay_ms = backoff_ms(retry.first_ms, retry.factor, retry.most_ms, made)
    due_ms = now_ms + delay_ms - spread_ms(delay_ms, f"{parcel.id}/{parcel.attempts}")
    return replace(parcel, status=ParcelStatus.RETRYING, outstanding=False, timers={_RETRY: due_ms})


def _deliver(before: Parcel | None, parcel: Parcel, actions: tuple[Action, ...] = ()) -> Answer:
    """Redelivers the first letter."""
    attempt, letter = parcel.attempts + 1, parcel.letters[0]
    route = _route(parcel, letter.source) if letter.source is not None else None
    assert route is not None, f"{parcel.id} has no route for the letter {letter.id}"
    headers = (
        *((name, value) for name, value in letter.raw_headers if name not in _OURS),
        (PARCEL, parcel.id.encode()),
        (SOURCE, str(letter.source).encode()),
        (ATTEMPT, str(attempt).encode()),
        *(() if letter.timestamp_ms is None else ((TIMESTAMP, str(letter.timestamp_ms).encode()),)),
    )
    key, value = from_base64(letter.key), from_base64(letter.value)
    again = Forward(
        topic=route.redeliver_to, partition=route.redeliver_partition, key=key, value=value, headers=headers
    )
    after = replace(parcel, status=ParcelStatus.RETRYING, attempts=attempt, outstanding=True, timers={})
    return _changed(before, after, (*actions, again))


def _go_on(parcel: Parcel, now_ms: int, limits: Limits, actions: tuple[Action, ...] = (), count: int = 1) -> Answer:
    """The first letters are done: the next one is delivered, or the key released."""
    done, left = parcel.letters[:count], parcel.letters[count:]
    rest = replace(
        parcel, letters=left, attempts=0, spent=0, outstanding=False, error="", detail="", failed_ms=None, timers={}
    )
    if left:
        return _deliver(parcel, rest, actions)
    releases = tuple(_release(parcel, route, done[-1]) for route in parcel.routes)
    return _changed(parcel, _released(rest, now_ms, limits), (*actions, *releases))


def _released(parcel: Parcel, now_ms: int, limits: Limits) -> Parcel:
    timers = {_EXPIRY: now_ms + limits.released_retention_ms}
    return replace(parcel, status=ParcelStatus.RELEASED, timers=timers)


def _release(parcel: Parcel, route: Route, letter: Letter) -> Forward:
    """Tells the owner of a partition that everything is handled that it has posted. ``letter``: any of the key."""
    headers = ((PARCEL, parcel.id.encode()), (RELEASE, str(route.last).encode()))
    key = from_base64(letter.key)
    return Forward(topic=route.redeliver_to, partition=route.redeliver_partition, key=key, value=None, headers=headers)


def _route(parcel: Parcel, source: Source) -> Route | None:
    at = (source.topic, source.partition)
    return next((route for route in parcel.routes if (route.topic, route.partition) == at), None)


# What people ask


def _ask(parcel: Parcel | None, message: ParcelRequest, now_ms: int, limits: Limits) -> Answer:
    if parcel is not None and message.id in parcel.requests:
        return _same(parcel, ReasonCode.DUPLICATE, "this request was carried out already")
    if parcel is None or not parcel.letters:
        text = f"there is nothing in {message.instance}: it was delivered, released or discarded; list what waits now"
        return _same(parcel, ReasonCode.NO_SUCH_INSTANCE, text, Outcome.DENIED)
    if (reason := _why_not(parcel, message)) is not None:
        return _same(parcel, reason.code, reason.text, Outcome.DENIED)
    asked = replace(parcel, requests=(*parcel.requests, message.id)[-_REQUESTS_MAX:])
    match message:
        case Redrive():
            return _deliver(parcel, replace(asked, spent=asked.attempts))
        case Reschedule():
            return _reschedule(parcel, asked, message, now_ms)
        case Edit():
            return _edit(parcel, asked, message, limits)
        case Skip():
            dead = _dead(parcel, _said("skipped", message), 1)
            return _go_on(asked, now_ms, limits, dead)
        case Discard() if parcel.status is ParcelStatus.DELAYED:
            return Answer(entity=None, outcome=Outcome.APPLIED, reason="the message is cancelled")
        case Discard():
            dead = _dead(parcel, _said("discarded", message), len(parcel.letters))
            return _go_on(asked, now_ms, limits, dead, len(dead))
        case _:
            assert_never(message)


def _why_not(parcel: Parcel, message: ParcelRequest) -> Reason | None:
    """Why the request cannot be carried out now, and what to do instead; None: it can."""
    delayed = parcel.status is ParcelStatus.DELAYED
    match message:
        case Redrive() | Skip() if delayed:
            return not_now("this message is delayed and has not been delivered yet; reschedule or discard it")
        case Reschedule() if not delayed:
            return not_now("only a delayed message has a time; redrive a key")
        case Edit() if parcel.status is ParcelStatus.RETRYING:
            return not_now("its letters are being delivered; edit it once it is parked, or skip this letter")
        case Edit(value=None, headers=None):
            return invalid("give a value, headers or both")
        case Edit(letter=id) if all(letter.id != id for letter in parcel.letters):
            return Reason(ReasonCode.STALE, f"there is no letter {id[:300]!r} in it; read the parcel again")
        case Skip(letter=id) if id not in ("", parcel.letters[0].id):
            first = parcel.letters[0].id[:300]
            return Reason(ReasonCode.STALE, f"its first letter is {first!r} now; read the parcel again, then decide")
        case _:
            return None


def _reschedule(parcel: Parcel, asked: Parcel, message: Reschedule, now_ms: int) -> Answer:
    if message.due_ms <= now_ms:
        actions = (_original(parcel.letters[0]),)
        return Answer(entity=None, outcome=Outcome.APPLIED, actions=actions, reason="it is due already")
    if parcel.timers.get(_DUE) == message.due_ms:
        return _same(parcel, ReasonCode.NOTHING_TO_CHANGE, "it has this time already")
    return _changed(parcel, replace(asked, timers={_DUE: message.due_ms}))


def _edit(parcel: Parcel, asked: Parcel, message: Edit, limits: Limits) -> Answer:
    letters = tuple(_edited(letter, message) if letter.id == message.letter else letter for letter in parcel.letters)
    if letters == parcel.letters:
        return _same(parcel, ReasonCode.NOTHING_TO_CHANGE, "the letter is already so")
    for before, edited in zip(parcel.letters, letters, strict=True):
        if (wrong := edit_wrong(before, edited)) is not None:
            return _same(parcel, ReasonCode.INVALID, wrong, Outcome.DENIED)
    after = replace(asked, letters=letters)
    if (wrong := _too_large(after, limits)) is not None:
        return _same(parcel, ReasonCode.TOO_LARGE, wrong, Outcome.DENIED)
    return _changed(parcel, after)


def _edited(letter: Letter, message: Edit) -> Letter:
    return replace(
        letter,
        value=letter.value if message.value is None else message.value,
        headers=letter.headers if message.headers is None else message.headers,
    )


def _dead(parcel: Parcel, reason: str, count: int) -> tuple[DeadLetter, ...]:
    """The first letters as dead letters. Only the first one has failed."""
    first, *others = parcel.letters[:count]
    failed = DeadLetter(reason=reason, letter=first, detail=parcel.detail)
    return (failed, *(DeadLetter(reason=reason, letter=each) for each in others))


def _said(what: str, message: Skip | Discard) -> str:
    by = f" by {message.by}" if message.by else ""
    return f"{what}{by}: {message.reason}" if message.reason else f"{what}{by}"


# Answers and limits


def _original(letter: Letter) -> Forward:
    key, value = from_base64(letter.key), from_base64(letter.value)
    return Forward(topic=letter.topic, partition=letter.partition, key=key, value=value, headers=letter.raw_headers)


def _no_room(parcel: Parcel, limits: Limits) -> str | None:
    if len(parcel.letters) > limits.letters_max:
        most = f"{limits.letters_max:,} letters of this key wait already"
        return f"{most}; redrive, skip or discard them, then redrive this one"
    return _too_large(parcel, limits)


def _too_large(parcel: Parcel, limits: Limits) -> str | None:
    size = len(to_json(replace(parcel, letters=())))
    size += sum([len(each.encoded) for each in parcel.letters]) + max(0, len(parcel.letters) - 1)
    if size <= limits.document_bytes:
        return None
    most = f"{limits.document_bytes:,}"
    return f"{parcel.id} would have {size:,} bytes, the limit is {most}; send references instead of contents"


def _same(parcel: Parcel | None, code: ReasonCode, text: str, outcome: Outcome = Outcome.UNCHANGED) -> Answer:
    return Answer(entity=parcel, outcome=outcome, code=code, reason=text)


def _changed(before: Parcel | None, after: Parcel, actions: tuple[Action, ...] = ()) -> Answer:
    """The parcel one revision later."""
    revision = 1 + (before.revision if before is not None else 0)
    return Answer(entity=replace(after, revision=revision), outcome=Outcome.APPLIED, actions=actions)
