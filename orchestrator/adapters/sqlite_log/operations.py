"""The writer's operations, one small class each; each checks its preconditions before it changes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from ...errors import OwnershipLost, TopicMismatch
from ...ports.log import TopicSpec
from ...ports.topics import GROWN
from .feed import Topic
from .transaction import Row, Transaction

__all__ = [
    "OWNERS",
    "Advance",
    "Append",
    "Call",
    "Claim",
    "Commit",
    "Seat",
    "claim",
    "create",
    "differences",
    "leave",
    "sit",
]

T = TypeVar("T")

OWNERS = ""
"""The group of the epochs of state partitions: they have one owner, whatever the name of its group."""


class Append(NamedTuple):
    rows: Sequence[Row]
    isolated: bool = False

    def apply(self, transaction: Transaction) -> None:
        transaction.append(self.rows)


class Commit(NamedTuple):
    """A decision batch. The first ``kept`` rows are documents; the owner gets their new ids."""

    part: int
    epoch: int
    rows: Sequence[Row]
    superseded: Sequence[int]
    kept: int
    isolated: bool = False

    def apply(self, transaction: Transaction) -> list[int]:
        if transaction.epoch(OWNERS, self.part) != self.epoch:
            raise OwnershipLost(
                "another owner has taken this partition; nothing of the commit is visible: "
                "release this owner and wait for an assignment"
            )
        transaction.remove(self.superseded)
        return transaction.append(self.rows)[: self.kept]


class Advance(NamedTuple):
    """Positions of a group by partition, each with the epoch of its reader; old epochs are ignored."""

    group: str
    positions: Mapping[int, tuple[int, int]]
    isolated: bool = False

    def apply(self, transaction: Transaction) -> None:
        for part, (epoch, next_offset) in self.positions.items():
            if transaction.epoch(self.group, part) == epoch:
                transaction.advance(self.group, part, next_offset)


class Call(Generic[T]):
    """Any other operation: a function in its own SAVEPOINT."""

    isolated = True

    def __init__(self, function: Callable[[Transaction], T]) -> None:
        self._function = function

    def apply(self, transaction: Transaction) -> T:
        return self._function(transaction)


# Topics


def differences(spec: TopicSpec, found: Topic | None) -> str:
    """What is wrong with a topic and what to do; empty: nothing."""
    if found is None:
        return f"{spec.name} does not exist: create it with `saga topics create`"
    wrong = []
    if found.partitions != spec.partitions:
        wrong.append(f"has {found.partitions} partitions, not {spec.partitions}: {GROWN}")
    if found.policy != spec.policy:
        wrong.append(f"has the policy {found.policy}, not {spec.policy}: use another namespace or another file")
    if spec.retention_ms is not None and found.retention_ms is not None and found.retention_ms < spec.retention_ms:
        wrong.append(
            f"keeps records for {found.retention_ms} ms, not for {spec.retention_ms}: "
            "use another namespace or another file"
        )
    return f"{spec.name} " + " and ".join(wrong) if wrong else ""


def create(specs: Sequence[TopicSpec], transaction: Transaction) -> list[str]:
    rows = transaction.execute("SELECT name, partitions, first_part, policy, retention_ms FROM topics").fetchall()
    found = {row[0]: Topic(*row) for row in rows}
    wrong = [text for spec in specs if spec.name in found and (text := differences(spec, found[spec.name]))]
    if wrong:
        raise TopicMismatch("; ".join(wrong))
    next_part = max((topic.first_part + topic.partitions for topic in found.values()), default=1)
    created: list[str] = []
    for spec in specs:
        if spec.name not in found and spec.name not in created:
            transaction.execute(
                "INSERT INTO topics (name, partitions, first_part, policy, retention_ms) VALUES (?, ?, ?, ?, ?)",
                (spec.name, spec.partitions, next_part, spec.policy, spec.retention_ms),
            )
            next_part += spec.partitions
            created.append(spec.name)
    return created


# Groups


class Seat(NamedTuple):
    """One member of a group, for one topic."""

    group: str
    topic: str
    member: str


class Claim(NamedTuple):
    """An epoch, and the committed position to continue from; None: it was held already, continue where you are."""

    epoch: int
    next_offset: int | None


def sit(seats: Sequence[Seat], timeout_ms: int, transaction: Transaction) -> None:
    """Joins, or renews the members; removes members whose timeout has passed."""
    now_ms = transaction.now_ms
    expired = transaction.execute(
        "DELETE FROM members WHERE ? NOT BETWEEN seen_ms - timeout_ms AND seen_ms + timeout_ms", (now_ms,)
    ).rowcount
    new = 0
    for seat in seats:
        where = "WHERE grp = ? AND topic = ? AND member = ?"
        known = f"UPDATE members SET seen_ms = ? {where}"  # nosec B608  # the text above
        if not transaction.execute(known, (now_ms, *seat)).rowcount:
            new += transaction.execute(
                "INSERT INTO members (grp, topic, member, seen_ms, timeout_ms) VALUES (?, ?, ?, ?, ?)",
                (*seat, now_ms, timeout_ms),
            ).rowcount
    if expired or new:
        transaction.regroup()


def leave(seats: Sequence[Seat], transaction: Transaction) -> None:
    for seat in seats:
        transaction.execute("DELETE FROM members WHERE grp = ? AND topic = ? AND member = ?", seat)
    transaction.regroup()


def claim(
    group: str, seat: Seat, parts: Mapping[int, int], held: Mapping[int, int], transaction: Transaction
) -> dict[int, Claim]:
    """Takes the partitions (number by part) that are this seat's now; those ``held`` under a valid epoch are kept.

    Partitions that it no longer owns are not in the result: the caller will see that change soon.
    """
    rows = transaction.execute("SELECT member FROM members WHERE grp = ? AND topic = ? ORDER BY seq", seat[:2])
    members = [member for (member,) in rows.fetchall()]
    claimed: dict[int, Claim] = {}
    for part, partition in parts.items():
        if not members or members[partition % len(members)] != seat.member:
            continue
        if transaction.epoch(group, part) == held.get(part):
            claimed[part] = Claim(held[part], None)
            continue
        epoch = transaction.bump(group, part)
        row = transaction.execute("SELECT next FROM positions WHERE grp = ? AND part = ?", (group, part)).fetchone()
        claimed[part] = Claim(epoch, row[0] if row else 0)
    return claimed
