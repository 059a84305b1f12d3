"""Sends a step's command or its undo, attempt by attempt, by one mechanism for both directions.

Timers of a place: ``{place}:deadline`` ends all attempts, ``{place}:attempt`` one attempt without a reply,
``{place}:retry`` the backoff; ``{place}:expected`` reports that the step is overdue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from ...sagas import Contract, Retry, Step
from ...sagas.models import read, write
from ...sagas.policy import spread_ms, to_ms
from ..messages.document import CauseKind, StepRecord, StepStatus, progress_of
from ..messages.outputs import SendCommand, command_id
from .asking import Fault, Nothing, ask, block
from .context import DecisionContext
from .results import a_model
from .slip import hand_on, is_behind, is_slip, kept, took

__all__ = ["INSTEAD", "Leg", "ask_leg", "leg_at", "leg_of", "plan_retry", "send", "send_again"]

_BEHIND_MS = 1_000
INSTEAD = "undo_instead"
"""Field of a place's memo: the command that an operator has chosen for its undo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One direction of a step at a place: what is sent, with which policy, and the statuses it moves through.

    ``asks_only``: it is a question of a scatter; the scatter gathers its answer.
    """

    step: str
    undo: bool
    contract: Contract[Any, Any]
    build: Callable[[Any], BaseModel]
    into: str | None
    timeout_ms: int
    attempt_timeout_ms: int | None
    retry: Retry
    backoff: StepStatus
    expected_ms: int | None
    asks_only: bool

    def attempts(self, record: StepRecord) -> int:
        """Commands sent so far."""
        return record.undo_attempt if self.undo else record.attempt

    def spent(self, record: StepRecord) -> int:
        return record.undo_spent if self.undo else record.spent


@lru_cache(maxsize=4096)
def leg_of(step: Step[Any], place: str, *, undo: bool) -> Leg:
    """The forward leg of a step at a place, or its undo (which it must have)."""
    if not undo:
        retry = step.options.retry
        return Leg(
            step=place,
            undo=False,
            contract=step.contract,
            build=step.build,
            into=step.options.into,
            timeout_ms=to_ms(step.options.timeout),
            attempt_timeout_ms=_optional_ms(retry.attempt_timeout),
            retry=retry,
            backoff=StepStatus.BACKOFF,
            expected_ms=_optional_ms(step.options.expected_within),
            asks_only=step.is_query,
        )
    compensation = step.compensation
    assert compensation is not None, f"step {step.name} has no undo"
    return Leg(
        step=place,
        undo=True,
        contract=compensation.contract,
        build=compensation.build,
        into=None,
        timeout_ms=to_ms(compensation.timeout),
        attempt_timeout_ms=_optional_ms(compensation.retry.attempt_timeout),
        retry=compensation.retry,
        backoff=StepStatus.UNDO_BACKOFF,
        expected_ms=None,
        asks_only=False,
    )


def leg_at(ctx: DecisionContext, place: str, *, undo: bool) -> Leg:
    """The leg of a place. If an operator has replaced the undo, it sends that command with the declared policy."""
    leg = leg_of(ctx.step(place), place, undo=undo)
    instead = ctx.memo(place).get(INSTEAD) if undo else None
    if not isinstance(instead, dict):
        return leg
    name, command = instead["contract"], instead["command"]
    contract = ctx.definition.contract(name)

    def build(_: object) -> BaseModel:
        if contract is None:
            raise LookupError(f"contract {name!r}, which an operator chose for this undo, is no longer deployed")
        found: BaseModel = read(contract.command, command)
        return found

    return replace(leg, contract=contract or leg.contract, build=build)


def _optional_ms(span: timedelta | None) -> int | None:
    return None if span is None else to_ms(span)


def send(ctx: DecisionContext, leg: Leg, *, fresh: bool) -> None:
    """Sends the next attempt; ``fresh`` starts a new round with a new deadline and all attempts.

    If the command cannot be built or is over the limit, the instance needs attention instead.
    """
    payload = _payload(ctx, leg)
    if payload is None:
        return
    attempt = ctx.mark_sent(leg.step, undo=leg.undo, fresh=fresh)
    deadline = f"{leg.step}:deadline"
    deadline_ms = ctx.now_ms + leg.timeout_ms if fresh else ctx.timers[deadline]
    ctx.timers[deadline] = deadline_ms
    if leg.attempt_timeout_ms is not None:
        ctx.timers[f"{leg.step}:attempt"] = ctx.now_ms + leg.attempt_timeout_ms
    if leg.expected_ms is not None and fresh:
        ctx.timers[f"{leg.step}:expected"] = ctx.now_ms + leg.expected_ms
    slip = None
    if is_slip(ctx) and not leg.undo:
        took(ctx, leg.step, from_json(payload))
        slip = hand_on(ctx, leg.step, deadline_ms)
    ctx.actions.append(
        SendCommand(
            instance=ctx.id,
            step=leg.step,
            contract=leg.contract.name,
            queue=leg.contract.lane,
            undo=leg.undo,
            attempt=attempt,
            payload=payload,
            deadline_ms=deadline_ms,
            slip=slip,
            generation=ctx.steps[leg.step].generation,
            incarnation=ctx.document.incarnation,
            attempt_timeout_ms=leg.attempt_timeout_ms,
            progress=progress_of(ctx.steps[leg.step]),
        )
    )


def ask_leg(ctx: DecisionContext, leg: Leg) -> None:
    """Sends a question of a scatter; its deadline is the scatter's."""
    send(ctx, leg, fresh=True)
    ctx.clear_timers(leg.step)


def send_again(ctx: DecisionContext, leg: Leg) -> None:
    """Sends the next attempt after a backoff. A stop of a slip waits until the stops before it are done."""
    if is_slip(ctx) and not leg.undo and is_behind(ctx, leg.step):
        ctx.timers[f"{leg.step}:retry"] = ctx.now_ms + _BEHIND_MS
    else:
        send(ctx, leg, fresh=False)


def plan_retry(ctx: DecisionContext, leg: Leg, error: str) -> bool:
    """Sets the retry timer after a failed attempt. False: the round has no attempts left."""
    record = ctx.steps[leg.step]
    failed = leg.attempts(record) - leg.spent(record)
    if failed >= leg.retry.max_attempts:
        return False
    ctx.mark(leg.step, leg.backoff, error=error)
    ctx.timers.pop(f"{leg.step}:attempt", None)
    delay_ms = leg.retry.delay_ms(failed)
    sent = command_id(ctx.id, ctx.label(leg.step), undo=leg.undo, attempt=leg.attempts(record))
    ctx.timers[f"{leg.step}:retry"] = ctx.now_ms + delay_ms - spread_ms(delay_ms, sent)
    return True


def _payload(ctx: DecisionContext, leg: Leg) -> bytes | None:
    """The command as JSON; None: it could not be built or is too large, and the instance needs attention."""
    what = f"the undo of step {leg.step!r}" if leg.undo else f"step {leg.step!r}"
    payload = ask(ctx, leg.step, f"the function of {what}", lambda: _build(ctx, leg), undo=leg.undo)
    if isinstance(payload, Nothing):
        return None
    if len(payload) > ctx.limits.command_bytes:
        message = (
            f"the command of {what} has {len(payload):,} bytes, the limit is {ctx.limits.command_bytes:,}; "
            "send less (a reference instead of the content), then retry"
        )
        block(ctx, leg.step, CauseKind.TOO_LARGE, Fault(message), undo=leg.undo)
        return None
    return payload


def _build(ctx: DecisionContext, leg: Leg) -> bytes:
    command = leg.build(kept(ctx, leg.step) if leg.undo and is_slip(ctx) else ctx.model())
    model: type[BaseModel] = leg.contract.command
    return write(a_model(command, model, f"contract {leg.contract.name!r} sends"), model)
