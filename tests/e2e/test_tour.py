"""Every shipped example in one process, half of the instances undone, and a check of the books."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sagaline.orchestrator.cli.demo.parts import Parts, demo_parts, unless_ended
from sagaline.orchestrator.messages.document import Status
from sagaline.sagas.models import as_json
from sagaline.workers import SqliteInbox, Worker
from sagaline.workers.examples.books import BOOKS_SCHEMA, Books
from sagaline.workers.examples.flight_search import flight_workers
from sagaline.workers.examples.invoice_import import invoice_workers
from sagaline.workers.examples.ledger import Ledger
from sagaline.workers.examples.loan_approval import loan_workers
from sagaline.workers.examples.order_checkout import order_workers
from sagaline.workers.examples.order_fulfilment import fulfilment_workers
from sagaline.workers.examples.trip_booking import trip_workers

from .demo_place import LOGS, demo_place
from .tour import EXAMPLES, Visit, plan_visits

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(180)]


def workers(ledger: Path, books: Path) -> list[Worker]:
    inbox = SqliteInbox(books, schema=BOOKS_SCHEMA)
    others = (trip_workers, flight_workers, invoice_workers, fulfilment_workers, loan_workers)
    return [*order_workers(ledger), *(worker for each in others for worker in each(inbox))]


async def start(http: httpx.AsyncClient, visit: Visit) -> None:
    if visit.start is not None:
        await post(http, f"/v1/sagas/{visit.definition.name}", key=visit.key, input=as_json(visit.start))
    for event, body in visit.events:
        id = f"{event.name}-{visit.key}"
        await post(http, f"/v1/events/{event.name}", key=visit.key, id=id, body=as_json(body))


async def post(http: httpx.AsyncClient, path: str, **body: object) -> None:
    answer = await http.post(path, json=body)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("log", LOGS)
async def test_all_examples_run_beside_each_other(request: pytest.FixtureRequest, log: str, tmp_path: Path) -> None:
    """Each instance ends as planned, nothing is done twice, and what was undone leaves no effect."""
    visits = plan_visits("tour")
    with demo_place(request, log, tmp_path) as (place, listener):
        books = tmp_path / "books.db"
        async with demo_parts(place, listener, EXAMPLES, workers(place.ledger, books)) as parts:
            await unless_ended(visit_all(parts, visits), parts)
            found = [(parts.shop.seen[visit.instance]["status"], visit) for visit in visits]
        assert [f"{visit.instance} is {status}: {visit.story}" for status, visit in found if status != visit.ends] == []
        assert {visit.definition.name for visit in visits} == {each.name for each in EXAMPLES}
        ledger, effects = Ledger(place.ledger), Books(books)
        assert (effects.wrong(), ledger.done_twice(), ledger.open_charges()) == ([], [], [])
        undone = [visit for visit in visits if visit.ends is Status.COMPENSATED]
        assert (len(undone), len(visits)) == (12, 25)
        assert {visit.instance: left for visit in undone if (left := effects.standing(visit.subject))} == {}
        assert any(effects.standing(visit.subject) for visit in visits), "the books are read"


async def visit_all(parts: Parts, visits: list[Visit]) -> None:
    parts.shop.where = {}
    async with httpx.AsyncClient(base_url=parts.address, timeout=15, trust_env=False) as http:
        for visit in visits:
            await start(http, visit)
    await parts.shop.wait_for(visit.instance for visit in visits)
