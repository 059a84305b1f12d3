"""Sending a step's command or its undo, attempt by attempt. One mechanism for both directions.

Timers of a step: ``{step}:deadline`` ends the whole, ``{step}:attempt`` one silent attempt, ``{step}:retry`` a wait.
"""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from ...sagas import Contract, Retry, Step
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, StepRecord, StepStatus
from ..messages.outputs import SendCommand, command_id
from .run import Run

__all__ = ["Leg", "leg_of", "plan_retry", "send"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One direction of a step: what is sent, by which policy, and which statuses it moves through."""

    step: str
    undo: bool
    contract: Contract[Any, Any]
    build: Callable[[Any], BaseModel]
    timeout_ms: int
    retry: Retry
    sent: StepStatus
    waiting: StepStatus
    blocked: StepStatus

    def attempts(self, record: StepRecord | None) -> int:
        """Commands sent so far."""
        if record is None:
            return 0
        return record.undo_attempt if self.undo else record.attempt

    def spent(self, record: StepRecord) -> int:
        return record.undo_spent if self.undo else record.spent


def leg_of(step: Step[Any], *, undo: bool) -> Leg:
    """The forward leg of a step, or its undo (which it must have)."""
    if not undo:
        return Leg(
            step=step.name,
            undo=False,
            contract=step.contract,
            build=step.build,
            timeout_ms=to_ms(step.options.timeout),
            retry=step.options.retry,
            sent=StepStatus.SENT,
            waiting=StepStatus.WAITING,
            blocked=StepStatus.BLOCKED,
        )
    compensation = step.compensation
    assert compensation is not None, f"step {step.name} has no undo"
    return Leg(
        step=step.name,
        undo=True,
        contract=compensation.contract,
        build=compensation.build,
        timeout_ms=to_ms(compensation.timeout),
        retry=compensation.retry,
        sent=StepStatus.UNDO_SENT,
        waiting=StepStatus.UNDO_WAITING,
        blocked=StepStatus.UNDO_FAILED,
    )


def send(run: Run, leg: Leg, *, fresh: bool) -> None:
    """Sends the next attempt; ``fresh`` opens a new round with a new deadline and all attempts.

    A command that cannot be built, or is over the limit, puts the instance into attention instead.
    """
    payload = _payload(run, leg)
    if payload is None:
        return
    record = run.mark(leg.step, leg.sent)
    attempt = leg.attempts(record) + 1
    if leg.undo:
        record = replace(record, undo_attempt=attempt, undo_spent=attempt - 1 if fresh else record.undo_spent)
    else:
        record = replace(record, attempt=attempt, spent=attempt - 1 if fresh else record.spent)
    run.steps[leg.step] = record
    deadline_ms = run.now_ms + leg.timeout_ms if fresh else run.timers[f"{leg.step}:deadline"]
    run.timers[f"{leg.step}:deadline"] = deadline_ms
    if leg.retry.attempt_timeout is not None:
        run.timers[f"{leg.step}:attempt"] = run.now_ms + to_ms(leg.retry.attempt_timeout)
    run.actions.append(
        SendCommand(
            instance=run.id,
            step=leg.step,
            contract=leg.contract.name,
            queue=leg.contract.queue,
            undo=leg.undo,
            attempt=attempt,
            payload=payload,
            deadline_ms=deadline_ms,
        )
    )


def plan_retry(run: Run, leg: Leg, error: str) -> bool:
    """Sets the retry timer after a failed attempt; False when the round has no attempt left."""
    record = run.steps[leg.step]
    failed = leg.attempts(record) - leg.spent(record)
    if failed >= leg.retry.max_attempts:
        return False
    run.mark(leg.step, leg.waiting, error=error)
    run.timers.pop(f"{leg.step}:attempt", None)
    delay_ms = leg.retry.delay_ms(failed)
    sent = command_id(run.id, leg.step, undo=leg.undo, attempt=leg.attempts(record))
    spread_ms = delay_ms * (zlib.crc32(sent.encode()) % 1000) // 10_000
    run.timers[f"{leg.step}:retry"] = run.now_ms + delay_ms - spread_ms
    return True


def _payload(run: Run, leg: Leg) -> bytes | None:
    """The command as JSON, or None after stopping the instance. The author's function may raise anything."""
    what = f"the undo of step {leg.step!r}" if leg.undo else f"step {leg.step!r}"
    try:
        command = leg.build(run.model())
        if not isinstance(command, leg.contract.command):
            raise TypeError(
                f"it returned a {type(command).__name__}; contract {leg.contract.name!r} sends a "
                f"{leg.contract.command.__name__}"
            )
        payload: bytes = command.model_dump_json().encode()
    except Exception as error:
        message = f"the function of {what} raised {type(error).__name__}: {error}; deploy a mended one, then retry"
        _block(run, leg, CauseKind.CODE, message, traceback.format_exc())
        return None
    if len(payload) > run.limits.command_bytes:
        message = (
            f"the command of {what} has {len(payload):,} bytes, the limit is {run.limits.command_bytes:,}; "
            "send less (a reference instead of the content), then retry"
        )
        _block(run, leg, CauseKind.TOO_LARGE, message, "")
        return None
    return payload


def _block(run: Run, leg: Leg, kind: CauseKind, message: str, detail: str) -> None:
    record = run.steps.get(leg.step)
    if record is None or record.status is not leg.blocked:
        run.mark(leg.step, leg.blocked, error=message)
    run.stop(kind, message, step=leg.step, detail=detail)
