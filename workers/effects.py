"""Connects handlers to the inbox: looks up commands before they run, makes effects durable before they are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, assert_never

from pydantic_core import from_json

from ..orchestrator.messages.inputs import Completed, Reply
from ..orchestrator.ports.clock import Clock
from ..sagas import Rejected
from .execution import completed, failed, rejected
from .inbox import Applied, Effect, Inbox, Verdict
from .work import NOTHING_FOUND, Work

__all__ = ["Effects", "Wanted"]

_RERUNS_MAX: Final = 5
FENCED: Final = Rejected("the step was undone before this command arrived; nothing was done", code="fenced")


class Wanted(NamedTuple):
    """A handler's reply that is sent once its effect is stored; ``reply_json`` is the reply's body."""

    work: Work
    reply: Completed
    reply_json: bytes


class Effects:
    """Lookups and writes of a worker in its inbox.

    Args:
        run: called with a command whose handler must run (again after the verdict STALE and another lookup).
        answer: called with a finished command and its reply.
    """

    def __init__(
        self, inbox: Inbox, clock: Clock, run: Callable[[Work], None], answer: Callable[[Work, Reply], None]
    ) -> None:
        self._inbox, self._clock, self._run, self._answer = inbox, clock, run, answer
        self.look_up_again: Callable[[Work], None] = run
        self.counts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)

    async def look_up(self, works: list[Work]) -> None:
        """Answers commands that already took effect or are fenced; runs the others."""
        found = await self._inbox.find(list({work.command.effect_key: None for work in works}))
        for work in works:
            work.found = found.get(work.command.effect_key, NOTHING_FOUND)
            stored = work.found.undo if work.command.undo else work.found.forward
            if work.found.undo is not None and not work.command.undo:
                self._settle(work, Applied(Verdict.FENCED))
            elif stored is not None:
                self._settle(work, Applied(Verdict.REPEATED, stored))
            else:
                self._run(work)

    async def apply(self, wanted: list[Wanted]) -> None:
        """Makes effects durable, then answers."""
        now_ms = self._clock.now_ms()
        applied = await self._inbox.apply([_effect(one, now_ms) for one in wanted])
        for one, verdict in zip(wanted, applied, strict=True):
            if verdict.verdict is Verdict.STORED:
                self.counts[Verdict.STORED] += 1
                self._answer(one.work, one.reply)
            else:
                self._settle(one.work, verdict)

    def _settle(self, work: Work, applied: Applied) -> None:
        self.counts[applied.verdict] += 1
        match applied.verdict:
            case Verdict.STORED | Verdict.REPEATED:
                assert applied.reply is not None
                self._answer(work, completed(work, from_json(applied.reply)))
            case Verdict.FENCED:
                self._answer(work, rejected(work, FENCED))
            case Verdict.FAILED:
                self._answer(work, failed(work, f"the inbox's database rejected its statements: {applied.error}"))
            case Verdict.STALE if work.reruns >= _RERUNS_MAX:
                self._answer(
                    work,
                    failed(work, "its transaction kept being lost, or the step kept taking effect while its undo ran"),
                )
            case Verdict.STALE:
                work.reruns += 1
                self.look_up_again(work)
            case _:
                assert_never(applied.verdict)


def _effect(wanted: Wanted, now_ms: int) -> Effect:
    command, context = wanted.work.command, wanted.work.context
    return Effect(
        effect_key=command.effect_key,
        undo=command.undo,
        command_id=command.id,
        reply=wanted.reply_json,
        statements=tuple(context.statements) if context is not None else (),
        forward_seen=wanted.work.found.forward is not None,
        unit=context.unit if context is not None else None,
        at_ms=now_ms,
    )
