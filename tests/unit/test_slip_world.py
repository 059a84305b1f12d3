"""Routing slips in a whole world: real engines and workers, faults, crashes; every desk stamps once."""

from __future__ import annotations

import pytest

from sagaline.orchestrator.testing import Fault
from sagaline.sagas.examples.loan_approval import Application, Loan, loan_approval
from sagaline.testing import World
from sagaline.workers.examples.books import BOOKS_SCHEMA
from sagaline.workers.examples.loan_approval import loan_workers

STORM = (
    Fault.LOSE,
    Fault.DELAY,
    Fault.UNANSWERED,
    Fault.DOUBLE,
    Fault.TORN,
    Fault.REORDER,
    Fault.CRASH_BEFORE,
    Fault.CRASH_AFTER,
)


def played(seed: int) -> tuple[dict[str, str], list[tuple[str, str, int]]]:
    """How loans end in a storm, and what the books say was done, how often."""
    with World(loan_approval, workers=loan_workers, schema=BOOKS_SCHEMA, seed=seed, engines=2) as world:
        for fault in STORM:
            world.faults.set_rate(fault, 0.03)
        names = ["plain", "grey-gus", "poor-pia", "blocked-bo"]
        loans = []
        for name in names:
            key = f"blocked-{name}" if name == "blocked-bo" else name
            application = Application(id=key, applicant=name, amount_cents=100)
            loans.append(world.start(loan_approval, key, Loan(application=application)))
        world.crash("treasury")
        world.faults.heal()
        world.settle()
        rows = world.store.connection.execute(
            "SELECT subject, what, count(*) FROM effects WHERE effect_key NOT IN (SELECT effect_key FROM taken_back)"
            " GROUP BY subject, what ORDER BY subject, what"
        ).fetchall()
        return {loan.rpartition("/")[2]: world.status(loan) for loan in loans}, rows


@pytest.mark.parametrize("seed", range(10))
def test_loans_end_as_they_must_and_every_effect_stands_once(seed: int) -> None:
    """Of what was taken back nothing is left."""
    ends, rows = played(seed)
    assert ends == {
        "plain": "completed",
        "grey-gus": "completed",
        "poor-pia": "compensated",
        "blocked-blocked-bo": "compensated",
    }
    stands = [(loan, what, 1) for loan in ("grey-gus", "plain") for what in ("contract", "funds", "payment")]
    assert rows == stands


def test_the_slip_travels_from_worker_to_worker() -> None:
    """The engine sends the first command and hears of the others."""
    with World(loan_approval, workers=loan_workers, schema=BOOKS_SCHEMA) as world:
        application = Application(id="L", applicant="ann", amount_cents=100)
        loan = world.start(loan_approval, "L", Loan(application=application))
        world.settle()
        assert world.status(loan) == "completed"
        queues = ("scoring", "treasury", "contracts")
        topics = [world.topics.commands(queue) for queue in queues]
        records = [r for topic in topics for part in world.broker.snapshot()[topic] for r in part]
        life = f"~{world.documents()[loan].incarnation}"
        headers = [dict(record.headers) for record in records]
        written = {each["ce_id"].decode().replace(life, ""): each["ce_source"].decode() for each in headers}
        assert written == {
            "loan-approval/L/score/1": "/world",
            "loan-approval/L/reserve/1": "/world/workers/loan-checks",
            "loan-approval/L/contract/1": "/world/workers/treasury",
            "loan-approval/L/pay/1": "/world",
        }
