"""A rolling deploy in both orders, while a client starts sagas: whatever was accepted ends, once, as what it was."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sagaline.orchestrator.codec.documents import decode_document
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.ports.topics import POSITION_KEY
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics

from .processes import SagaProcess, saga

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

SHOP = "tests.kafka.rolling_shop"
WORKER = ("worker", f"{SHOP}:worker")
SOME = 5


class Customer:
    """Starts one saga after another at whichever API is the present one, until it is told to stop.

    What is not answered, or by 503, is sent again with its key, as a careful client does.
    """

    def __init__(self) -> None:
        self._taken = asyncio.Event()
        self.api: tuple[str, int] = ("", 1)
        self.accepted: dict[str, tuple[int, int]] = {}
        """By key: the version of the API that took it, and the status that it answered."""

    async def served(self) -> None:
        """Returns when some more were accepted."""
        async with asyncio.timeout(60):
            for _ in range(SOME):
                self._taken.clear()
                await self._taken.wait()

    async def shop(self, stop: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=15) as http:
            number = 0
            while not stop.is_set():
                number += 1
                await self._order(http, f"A-{number}")
                await asyncio.sleep(0.03)

    async def _order(self, http: httpx.AsyncClient, key: str) -> None:
        async with asyncio.timeout(60):
            while key not in self.accepted:
                url, version = self.api
                input = {"order": key} | ({"currency": "EUR"} if version == 2 else {})
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.post(f"{url}/v1/sagas/shop?wait=0.5", json={"key": key, "input": input})
                    if answer.status_code in (200, 201, 202):
                        self.accepted[key] = version, answer.status_code
                        self._taken.set()
                    else:
                        assert answer.status_code == 503, answer.text
                await asyncio.sleep(0)


async def address(process: SagaProcess) -> str:
    await process.ready()
    found = re.search(r"answering at (\S+?);", process.output)
    assert found, process.output
    return found[1]


async def documents(base: Base, count: int) -> dict[str, Document]:
    """All instances, when so many have ended."""
    found: dict[str, Document] = {}
    tail = await base.log.tail([base.topics.state], "earliest")
    try:
        async with asyncio.timeout(60):
            while sum(each.status.is_final for each in found.values()) < count:
                for record in await tail.poll(max_records=1_000, timeout=1.0):
                    if record.key != POSITION_KEY and record.value is not None:
                        document = decode_document(record.value)
                        found[document.id] = document
    except TimeoutError:
        pytest.fail(f"{Counter(each.status.value for each in found.values())} of {count} after a minute")
    finally:
        await tail.close()
    return found


@asynccontextmanager
async def shopping(customer: Customer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(customer.shop(stop))
    try:
        yield
    finally:
        stop.set()
        await task


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, log: str) -> Settings:
    address = f"sqlite:///{tmp_path}/log.db"
    if log == "kafka":
        address = f"kafka://{request.getfixturevalue('kafka_bootstrap')}"
    namespace = f"roll{uuid.uuid4().hex[:8]}"
    return Settings(log=address, namespace=namespace, partitions=2, development=True)


ON_KAFKA = pytest.mark.kafka


@pytest.mark.parametrize(
    ("log", "first", "then"),
    [
        ("sqlite", "api", "new"),
        ("sqlite", "engine", "new_alone"),
        pytest.param("kafka", "api", "new_alone", marks=ON_KAFKA),
        pytest.param("kafka", "engine", "new", marks=ON_KAFKA),
    ],
)
async def test_no_start_is_lost_whichever_is_deployed_first(
    settings: Settings, tmp_path: Path, first: str, then: str
) -> None:
    """``new`` has both versions, ``new_alone`` only the second, which migrates from the first."""
    customer = Customer()
    (tmp_path / "second").mkdir()
    old_api = saga(("api", f"{SHOP}:old", "--port", "0"), settings, tmp_path)
    new_api = saga(("api", f"{SHOP}:{then}", "--port", "0"), settings, tmp_path / "second")
    old_engine = saga(("run", f"{SHOP}:old"), settings, tmp_path)
    new_engine = saga(("run", f"{SHOP}:{then}"), settings, tmp_path / "second")
    async with open_base(settings) as base, contextlib.AsyncExitStack() as stack:
        await prepare_topics(base, ["packing"])
        await (await stack.enter_async_context(saga(WORKER, settings, tmp_path))).ready()
        engine, api = await stack.enter_async_context(old_engine), await stack.enter_async_context(old_api)
        await engine.ready()
        customer.api = await address(api), 1
        async with shopping(customer):
            for part in (first, "engine" if first == "api" else "api"):
                await customer.served()
                if part == "api":
                    before, api = api, await stack.enter_async_context(new_api)
                    customer.api = await address(api), 2
                    assert await before.stop() == 0, before.output
                else:
                    before, engine = engine, await stack.enter_async_context(new_engine)
                    await engine.ready()
                    assert await before.stop() == 0, before.output
            await customer.served()
        found = await documents(base, len(customer.accepted))
        assert not any((await base.log.end_offsets([base.topics.dead])).values())
    assert {each.key for each in found.values()} == set(customer.accepted)
    assert {each.status for each in found.values()} == {Status.COMPLETED}
    if then == "new":
        asked = {key: version for key, (version, _) in customer.accepted.items()}
        assert {each.key: each.version for each in found.values()} == asked
    if first == "api":
        assert (2, 202) in customer.accepted.values(), "nothing waited for its code"
