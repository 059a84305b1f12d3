"""Removes records past their topic's retention, and tombstones that every reader has had time to see.

Each run is limited, so that a large backlog does not hold up other work. The last record of a partition always stays,
because the next offset is read from it. An undecided record of ``inputs`` stays too, whatever its age; an old command
is removed, as on Kafka: its step has a timeout.
"""

from __future__ import annotations

from itertools import takewhile

from ...errors import CorruptRecord
from ...ports.topics import state_of
from .owner import recorded_offset
from .schema import first_id, past_last_id
from .transaction import Transaction

__all__ = ["SWEEP_MAX", "TOMBSTONE_AGE_MS", "sweep"]

SWEEP_MAX = 2000
"""Most records removed by one run."""
TOMBSTONE_AGE_MS = 86_400_000
"""As Kafka's ``delete.retention.ms``."""
_PER_PARTITION = 500


def sweep(transaction: Transaction) -> int:
    """Removes up to ``SWEEP_MAX`` records that are due; returns how many."""
    removed = 0
    topics = transaction.execute("SELECT name, first_part, partitions, policy, retention_ms FROM topics").fetchall()
    states = {name: first_part for name, first_part, _, policy, _ in topics if policy == "compact"}
    for name, first_part, partitions, policy, retention_ms in topics:
        state_part = states.get(state_of(name) or "")
        for part in range(first_part, first_part + partitions):
            if removed >= SWEEP_MAX:
                return removed
            if policy == "compact":
                removed += _sweep_tombstones(transaction, part)
            elif retention_ms is not None:
                decides = None if state_part is None else state_part + part - first_part
                removed += _sweep_old(transaction, part, transaction.now_ms - retention_ms, decides)
    return removed


def _sweep_old(transaction: Transaction, part: int, before_ms: int, decides: int | None) -> int:
    """``decides``: the partition of the state topic that says how far this one is decided."""
    range_of = (first_id(part), past_last_id(part))
    oldest = "SELECT id, timestamp_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
    first = transaction.execute(oldest, (*range_of, 1)).fetchone()
    if first is None or first[1] >= before_ms:
        return 0
    end = past_last_id(part) if decides is None else first_id(part) + _decided(transaction, decides)
    rows = transaction.execute(oldest, (*range_of, _PER_PARTITION + 1)).fetchall()
    due = list(takewhile(lambda row: row[0] < end and row[1] < before_ms, rows[:-1]))
    if not due:
        return 0
    return transaction.execute("DELETE FROM records WHERE id >= ? AND id <= ?", (due[0][0], due[-1][0])).rowcount


def _decided(transaction: Transaction, part: int) -> int:
    try:
        return recorded_offset(lambda sql, given: transaction.execute(sql, given).fetchall(), part, "")
    except CorruptRecord:
        return 0  # its owner reports what is wrong; until then nothing is removed


def _sweep_tombstones(transaction: Transaction, part: int) -> int:
    range_of = (first_id(part), past_last_id(part))
    return transaction.execute(
        "DELETE FROM records WHERE id IN (SELECT id FROM records INDEXED BY tombstones WHERE value IS NULL "
        "AND id >= ? AND id < ? AND timestamp_ms < ? LIMIT ?) "
        "AND id <> (SELECT max(id) FROM records WHERE id >= ? AND id < ?)",
        (*range_of, transaction.now_ms - TOMBSTONE_AGE_MS, _PER_PARTITION, *range_of),
    ).rowcount
