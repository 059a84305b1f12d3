"""Runs one handler: from a command to its reply. Errors of a handler become replies, never exceptions.

- A reply of the declared type is Completed; ``Rejected``, returned or raised, is a rejection; ``AnswerLater`` sends no
  reply; all else is a failure.
- After the command's deadline its answer is not used, and the step is undone or retried: the handler is not started,
  or is cancelled. That is answered too; late answers do no harm. Exceeding ``handler_timeout`` is also a failure.
- A command is late when the span of time in it has passed since it arrived here, or when its deadline has passed here
  by more than ``clock_skew``; two clocks are never compared more exactly than that.
- SystemExit and KeyboardInterrupt end the worker (``WorkerCrashed``), as if the process had been killed; cancelling
  the worker ends it too. Any other BaseException (a panic in an extension, a foreign cancel class) is a failure.
- No payload is logged; a validation error names fields, not their values.
"""

from __future__ import annotations

import asyncio
import math
import re
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Final

import structlog
from pydantic import BaseModel, ValidationError

from ..orchestrator.errors import ConfigurationError
from ..orchestrator.messages.inputs import Completed, Failed, Reply
from ..orchestrator.messages.inputs import Rejected as RejectedReply
from ..orchestrator.messages.texts import Hidden, end_of, hiding, said, storable, trace_of
from ..orchestrator.ports.clock import Clock
from ..orchestrator.vault import Vault
from ..sagas import Rejected
from ..sagas.models import JsonObject, as_json, mistakes, read
from ..sagas.personal import has_unsealed, holds_personal, revealed_in
from ..sagas.policy import to_ms
from .context import AnswerLater, Context
from .errors import WorkerCrashed, is_cancelled
from .pulse import Pulse
from .spans import WorkerSpans
from .work import Work
from .worker import Handler, Worker

__all__ = ["Execution", "completed", "failed", "rejected"]

_ERROR_CHARS: Final = 1_000
_DETAIL_CHARS: Final = 8_000
_FRAMES: Final = 20
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_logger = structlog.get_logger(__name__)


class Execution:
    """Runs the handlers of one worker. ``heartbeat`` sends one, for the command that is at work. ``ends``: whether an
    error is the end of what runs the handler, and not a failure of it.
    """

    def __init__(
        self,
        worker: Worker,
        clock: Clock,
        spans: WorkerSpans,
        heartbeat: Callable[[Work, JsonObject | None], None],
        ends: Callable[[BaseException], bool] = is_cancelled,
        *,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault
        self._worker, self._clock, self._spans, self._heartbeat = worker, clock, spans, heartbeat
        self._calls, self._ends = worker.calls, ends
        self._timeout_seconds = worker.handler_timeout.total_seconds()
        self._skew_ms = to_ms(worker.clock_skew)

    async def run(self, work: Work) -> Reply | None:
        """The reply to a command; None: it is answered later, from elsewhere.

        ``work.late``: its deadline passed before it was done. The handler's own transaction stays open only after
        ``Completed``.

        Raises:
            WorkerCrashed: the handler ended the process.
        """
        reply = None
        try:
            reply = await self._run(work)
        finally:
            if not isinstance(reply, Completed):
                await work.discard(self._ends)
        return reply

    async def _run(self, work: Work) -> Reply | None:
        command, handler = work.command, work.handler
        self._begin(work)
        if (why := self.too_late(work)) is not None:
            return self._is_late(work, f"{why}; nothing was done")
        if handler is None:
            return failed(
                work,
                f"{self._worker!r} has no handler for contract {command.contract!r}; "
                f"deploy a worker that handles every contract of its queue",
            )
        try:
            model: BaseModel = read(handler.contract.command, command.payload)
            if holds_personal(handler.contract.command):
                await self._keys().open(model)
                work.hidden = Hidden(revealed_in(model))
        except ValidationError as error:
            return failed(
                work, f"the command does not fit {handler.contract.command.__name__}: {mistakes(error, 'body')}"
            )
        except BaseException as error:  # types and validators of the author may raise anything
            if self._ends(error) or isinstance(error, SystemExit | KeyboardInterrupt):
                raise
            return _raised(work, error)
        if (why := self.too_late(work)) is not None:  # the keys may have been slow to read
            return self._is_late(work, f"{why}; nothing was done")
        left = self._seconds_left(work)
        try:
            return await self._call(work, handler, model, left)
        except _AtDeadline:
            return self._is_late(work, f"the handler was cancelled after {left:g} s, at the command's deadline")
        except _TookTooLong:
            said = f"the handler was cancelled after {self._timeout_seconds:g} s"
            pulse = work.context.pulse if work.context is not None else None
            heard = " without a heartbeat" if pulse is not None and pulse.has_beaten else ""
            return failed(work, f"{said}{heard} (handler_timeout of {self._worker!r})")

    def _keys(self) -> Vault:
        if self._vault is None:
            raise ConfigurationError("a bus has no keys for personal values; let a worker handle this over the log")
        return self._vault

    def too_late(self, work: Work) -> str | None:
        """Why its deadline has certainly passed, even if the clocks differ: it is not begun. None: it may be begun."""
        late_ms = 0 if work.command.deadline_ms is None else self._clock.now_ms() - work.command.deadline_ms
        if late_ms > self._skew_ms:
            return (
                f"the command arrived {late_ms / 1000:g} s after its deadline by the clock of {self._worker!r}, more "
                f"than clocks may differ (clock_skew, {self._skew_ms / 1000:g} s)"
            )
        return None if self._seconds_left(work) > 0 else "its deadline passed while it waited to be handled"

    def _seconds_left(self, work: Work) -> float:
        """Seconds left of the span of time in the command, counted from its arrival."""
        span_ms = work.command.span_ms
        return math.inf if span_ms is None else span_ms / 1000 - (self._clock.monotonic() - work.came)

    def _is_late(self, work: Work, error: str) -> Failed:
        work.late = True
        _logger.warning("worker.command.late", contract=work.name, attempt=work.command.attempt, reason=error)
        return failed(work, error)

    async def _call(self, work: Work, handler: Handler, model: BaseModel, left: float) -> Reply | None:
        context, work.begun = work.context, True
        assert context is not None
        assert work.span is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + left
        limit = asyncio.timeout_at(min(end, loop.time() + self._timeout_seconds))

        def prolong() -> None:
            if not limit.expired():
                limit.reschedule(min(end, loop.time() + self._timeout_seconds))

        context.pulse = pulse = Pulse(
            work.command.attempt_timeout_ms, lambda progress: self._heartbeat(work, progress), prolong
        )
        try:
            async with limit:
                result = await self._calls.call(handler.callee, model, context)
                if isinstance(result, BaseModel) and has_unsealed(result):
                    await self._keys().seal(result)
            return _reply(work, handler, result)
        except Rejected as no:
            return rejected(work, no)
        except (SystemExit, KeyboardInterrupt) as error:
            work.span.end(type(error).__name__)
            raise WorkerCrashed(self._worker.name, work.command.contract, error) from error
        except BaseException as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise (_AtDeadline if limit.when() == end else _TookTooLong) from error
            if self._ends(error):
                raise
            return _raised(work, error)
        finally:
            work.unsent = pulse.stop()

    def _begin(self, work: Work) -> None:
        """Creates the trace span, the context, and the fields of every line that is logged in its context variables."""
        command = work.command
        span = work.span = self._spans.handles(work)
        work.context = Context(work.record, command, work.found, inbox=self._worker.inbox, traceparent=span.traceparent)
        span.enter()
        structlog.contextvars.bind_contextvars(instance=command.instance, trace_id=_trace_id(span.traceparent))


class _TookTooLong(Exception):
    """The handler was cancelled at its time limit."""


class _AtDeadline(_TookTooLong):
    """That was the deadline of its command."""


def completed(work: Work, reply: JsonObject) -> Completed:
    """The reply to ``work``: it took effect."""
    return Completed(
        id=f"{work.command.id}/reply",
        instance=work.command.instance,
        command_id=work.command.id,
        reply=reply,
    )


def rejected(work: Work, no: Rejected) -> RejectedReply:
    """The reply to ``work``: a business rejection. A code that the author declared stays whole, although a personal
    text may stand in it by chance; one that is such a text does not.
    """
    code = no.code if _CODE.fullmatch(no.code) and no.code not in work.hidden else hiding(no.code, work.hidden)
    return RejectedReply(
        id=f"{work.command.id}/reply",
        instance=work.command.instance,
        command_id=work.command.id,
        reason=storable(hiding(no.reason, work.hidden), _ERROR_CHARS),
        code=storable(code, _ERROR_CHARS),
    )


def failed(work: Work, error: str, detail: str = "") -> Failed:
    """The reply to ``work``: this attempt did not succeed. It says no personal text that the handler could read."""
    return Failed(
        id=f"{work.command.id}/reply",
        instance=work.command.instance,
        command_id=work.command.id,
        error=storable(hiding(error, work.hidden), _ERROR_CHARS),
        detail=end_of(hiding(detail, work.hidden), _DETAIL_CHARS),
    )


def _reply(work: Work, handler: Handler, result: object) -> Reply | None:
    expected = handler.contract.reply
    if isinstance(result, BaseModel) and isinstance(result, expected):
        return completed(work, as_json(result, expected))
    if isinstance(result, Rejected):
        return rejected(work, result)
    if isinstance(result, AnswerLater):
        return None
    return failed(
        work,
        f"the handler of {handler.contract.name!r} returned {type(result).__name__}; "
        f"it must return {expected.__name__}, Rejected or AnswerLater, and a middleware must return what "
        "call_next() gave",
    )


def _raised(work: Work, error: BaseException) -> Failed:
    if work.span is not None:
        work.span.raised(error, work.hidden)
    _logger.warning(
        "worker.handler.failed",
        contract=work.command.contract,
        attempt=work.command.attempt,
        error=said(error, work.hidden),
        at=_place(error),
    )
    detail = trace_of(error, _DETAIL_CHARS, frames=_FRAMES, hidden=work.hidden)
    return failed(work, said(error, work.hidden), detail)


def _place(error: BaseException) -> str:
    """File and line that raised it, for the log: the last ones of the handler's own code, else of what it called."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    here = str(PurePath(__file__).parent)
    own = [each for each in frames if "site-packages" not in each[0] and not each[0].startswith(here)]
    found = own or frames
    return f"{PurePath(found[-1][0]).name}:{found[-1][1]}" if found else ""


def _trace_id(traceparent: str | None) -> str | None:
    """The second field of a traceparent; not validated, as it is only logged."""
    return traceparent[3:35] if traceparent is not None and len(traceparent) == 55 else None
