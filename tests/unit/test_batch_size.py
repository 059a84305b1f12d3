"""How much a batch holds: what it will write, not what its decisions have made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.entity_messages import publication
from sagaline.orchestrator.runtime import deciding, processor
from sagaline.sagas import Event

from ..engine_world import Answer, open_log, two_steps, world


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with open_log(tmp_path / "log.db") as opened:
        yield opened


async def test_a_document_that_a_batch_changes_many_times_counts_once_for_its_size(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its last revision is written."""
    monkeypatch.setattr(processor, "_BATCH_BYTES_MAX", 100_000)
    batches: list[int] = []
    real = deciding.BatchWork.committed

    def counted(self: deciding.BatchWork) -> None:
        real(self)
        batches.append(self.count)

    async with world(log, [two_steps()]):
        pass
    monkeypatch.setattr(deciding.BatchWork, "committed", counted)
    event = Event("paid", Answer)
    published = [publication(event, "k", {"text": "x" * 400}, id=f"e{number}") for number in range(30)]
    await log.append(
        [encode_entity_message("test.inputs", e, source="/t", now_ms=1, traceparent=None) for e in published]
    )
    async with world(log, [two_steps()]) as w:
        await w.decided(published[-1].instance, lambda record: record.revision == 30)
    assert batches == [30]
