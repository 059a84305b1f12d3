"""Mistakes in the log in memory, each against a rule that every adapter keeps."""

from __future__ import annotations

from .mistake import slip

__all__ = ["ADAPTER"]

ADAPTER = (
    slip(
        "commit without a fence",
        "orchestrator/testing/broker.py",
        "        if self._epochs.get(place) != epoch:",
        "        if False:",
        "decided-once",
        "revisions",
        "command-once",
    ),
    slip(
        "take a partition before its last transaction is settled",
        "orchestrator/testing/broker.py",
        "        self._settle(place)\n        epoch =",
        "        epoch =",
        "decided-once",
        "revisions",
        "command-once",
    ),
    slip(
        "restore the position before the last",
        "orchestrator/testing/memory_owner.py",
        '        position = Position(int(value["offset"]), int(value["now_ms"]))',
        '        position = Position(max(0, int(value["offset"]) - 2), int(value["now_ms"]))',
        "decided-once",
    ),
    slip(
        "commit around a send that was not acknowledged",
        "orchestrator/testing/memory_owner.py",
        "*self._broker.route(batch.appends)]",
        "*self._broker.route(batch.appends)[:-1]]",
        "accepted",
        "revisions",
        "one-instance",
    ),
    slip(
        "read uncommitted records",
        "orchestrator/testing/partition.py",
        "        return min(self._held.values()) if self._held else self.end\n",
        "        return self.end\n",
        "effect-once",
        "told-once",
        "revisions",
        "decided-once",
        "lets-go",
    ),
    slip(
        "restore without the last document",
        "orchestrator/testing/memory_owner.py",
        "    for record in state.read(0, len(state.records)):",
        "    for record in state.read(0, len(state.records))[-12:]:",
        "not-late",
        "ends",
        "one-instance",
        "revisions",
        "runs",
        "mailed",
    ),
)
