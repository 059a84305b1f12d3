"""How large a document may grow: forward, and with room to turn round."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.document import CauseKind, Status
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.sagas import Saga, step
from sagaline.sagas.nodes import loop

from ..engine_world import Answer, Ask, Note, do_first, open_log, two_steps, undo_first, world


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as found:
        yield found


def endless() -> Saga[Note]:
    """One step with an undo, again and again."""

    @step(do_first, into="first", name="first")
    def again(s: Note) -> Ask:
        return Ask(text=s.text)

    @again.undo(undo_first)
    def back(s: Note) -> Ask:
        return Ask(text=s.text)

    return Saga("round", Note, flow=[loop(again, while_=lambda s: True, rounds_max=10_000, name="more")])


@pytest.mark.slow
async def test_a_loop_that_fills_its_document_is_undone_to_the_end(log: SqliteLog) -> None:
    """Going forward has a lower limit than going back; the advice is one that fits a loop."""
    limits = Limits(document_bytes=5_000, unwinding_bytes=9_000)
    async with world(log, [endless()], limits=limits) as w:
        instance = await w.start("A-1", definition="round")
        rounds = 0
        while (document := await w.document(instance)) is None or document.status is Status.RUNNING:
            rounds += 1
            await w.reply(await w.command(instance, f"first@{rounds}"), Answer(text="x"))
            await w.decided(instance, lambda r, at=rounds: r.revision > at)  # type: ignore[misc]  # bound at once
        assert rounds > 10
        assert document.attention is not None
        assert document.attention.kind is CauseKind.TOO_LARGE
        assert "run the body of a long loop as a child saga" in document.attention.message
        assert document.attention.message.endswith("; then retry, or cancel: there is room for the undos")
        await w.act(instance, ActName.CANCEL)
        for number in range(rounds, 0, -1):
            await w.reply(await w.command(instance, f"first@{number}", undo=True), Answer(text="u"))
        await w.decided(instance, lambda r: r.status is Status.COMPENSATED)


async def test_a_full_instance_is_abandoned_all_the_same(log: SqliteLog) -> None:
    async with world(log, [two_steps()], limits=Limits(document_bytes=1_300)) as w:
        instance = await w.start("A-1", "x" * 250)
        await w.reply(await w.command(instance, "first"), Answer(text="x" * 400))
        await w.decided(instance, lambda r: r.status is Status.ATTENTION)
        await w.act(instance, ActName.ABANDON)
        await w.decided(instance, lambda r: r.status is Status.ABANDONED)
