"""What may go: records older than their topic keeps them, and tombstones that every reader has had time to see.

Each run is bounded, so that a large backlog is cleared between the work of others and not before it. The last record of
a partition always stays: the next offset is read from it.
"""

from __future__ import annotations

from itertools import takewhile

from .schema import first_id, past_last_id
from .transaction import Transaction

__all__ = ["SWEEP_MAX", "TOMBSTONE_AGE_MS", "sweep"]

SWEEP_MAX = 2000
"""Records removed by one run."""
TOMBSTONE_AGE_MS = 86_400_000
"""As Kafka's ``delete.retention.ms``."""
_PER_PARTITION = 500


def sweep(transaction: Transaction) -> int:
    """Removes what is due, at most ``SWEEP_MAX`` records; how many."""
    removed = 0
    topics = transaction.execute("SELECT first_part, partitions, policy, retention_ms FROM topics").fetchall()
    for first_part, partitions, policy, retention_ms in topics:
        for part in range(first_part, first_part + partitions):
            if removed >= SWEEP_MAX:
                return removed
            if policy == "compact":
                removed += _sweep_tombstones(transaction, part)
            elif retention_ms is not None:
                removed += _sweep_old(transaction, part, transaction.now_ms - retention_ms)
    return removed


def _sweep_old(transaction: Transaction, part: int, before_ms: int) -> int:
    range_of = (first_id(part), past_last_id(part))
    oldest = "SELECT id, timestamp_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
    first = transaction.execute(oldest, (*range_of, 1)).fetchone()
    if first is None or first[1] >= before_ms:
        return 0
    rows = transaction.execute(oldest, (*range_of, _PER_PARTITION + 1)).fetchall()
    due = list(takewhile(lambda row: row[1] < before_ms, rows[:-1]))
    if not due:
        return 0
    return transaction.execute("DELETE FROM records WHERE id >= ? AND id <= ?", (due[0][0], due[-1][0])).rowcount


def _sweep_tombstones(transaction: Transaction, part: int) -> int:
    range_of = (first_id(part), past_last_id(part))
    return transaction.execute(
        "DELETE FROM records WHERE id IN (SELECT id FROM records INDEXED BY tombstones WHERE value IS NULL "
        "AND id >= ? AND id < ? AND timestamp_ms < ? LIMIT ?) "
        "AND id <> (SELECT max(id) FROM records WHERE id >= ? AND id < ?)",
        (*range_of, transaction.now_ms - TOMBSTONE_AGE_MS, _PER_PARTITION, *range_of),
    ).rowcount
