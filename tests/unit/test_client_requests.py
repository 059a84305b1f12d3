"""The client's requests through a real log and a real engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_validator

from sagaline.orchestrator.client import Client, Feed
from sagaline.orchestrator.client.checks import DEPTH_MAX, check_key, split_instance
from sagaline.orchestrator.errors import (
    ActDenied,
    InvalidRequest,
    LogUnavailable,
    NotYetDecided,
    StartConflict,
    TransientError,
    UnknownDefinition,
    UnknownInstance,
    ValueTooLarge,
)
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.ports.log import TopicPartition
from sagaline.orchestrator.ports.read_model import InstanceFilter
from sagaline.orchestrator.tracing import trace_id_of
from sagaline.sagas import Contract, Saga, step
from sagaline.sagas.examples.order_checkout import Checkout, Order, OrderLine, checkout

from .stack import Stack, order, running, stack

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ID = "order-checkout/A-1"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        yield running_stack


@pytest.fixture
async def client(up: Stack) -> Client:
    return up.client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """One client for all requests that are refused before they are sent: nothing comes of them."""
    async with stack(tmp_path_factory.mktemp("refusing"), engine=False) as running_stack:
        yield running_stack.client


shared = pytest.mark.asyncio(loop_scope="module")


async def test_a_start_answers_after_its_decision_and_can_be_read_at_once(client: Client) -> None:
    started = await client.start("order-checkout", order(), key="A-1", traceparent=TRACEPARENT)
    assert (started.instance, started.key, started.definition) == (ID, "A-1", "order-checkout")
    assert (started.created, started.status, started.revision) == (True, Status.RUNNING, 1)
    assert started.trace_id == trace_id_of(TRACEPARENT)
    document = await client.get(ID)
    assert document.revision == 1
    assert trace_id_of(document.traceparent) == started.trace_id
    (row,) = await client.history(ID)
    assert row.record.instance == ID
    assert [sent.contract for sent in row.record.sent] == ["reserve-stock"]


async def test_many_who_ask_at_once_for_what_is_not_there_share_the_question_to_the_log(
    up: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await up.client.start(checkout, order(), key="A-1")
    asked, ask = 0, up.log.end_offsets

    async def slow(topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        nonlocal asked
        asked += 1
        found = await ask(topics)
        await asyncio.sleep(0.5)
        return found

    monkeypatch.setattr(up.log, "end_offsets", slow)
    gets = (up.client.get(f"order-checkout/none-{n}") for n in range(40))
    found = await asyncio.gather(*gets, return_exceptions=True)
    assert [type(each) for each in found] == [UnknownInstance] * 40
    assert 1 <= asked <= 3, "three: the last have read so slowly that the second was under way"


async def test_the_same_start_again_is_the_same_instance(client: Client) -> None:
    first = await client.start(checkout, order(), key="A-1")
    again = await client.start(checkout, order(), key="A-1")
    assert (first.created, again.created) == (True, False)
    assert again.revision == first.revision


async def test_many_starts_of_one_key_at_once_make_one_instance(client: Client) -> None:
    results = await asyncio.gather(*(client.start(checkout, order(), key="A-1") for _ in range(20)))
    assert [each.created for each in results].count(True) == 1
    assert len((await client.list()).documents) == 1


async def test_the_same_key_with_another_input_is_a_conflict(client: Client) -> None:
    first = await client.start(checkout, order(), key="A-1")
    with pytest.raises(StartConflict, match=f"trace {first.trace_id}") as conflict:
        await client.start(checkout, order(total_cents=1), key="A-1")
    assert (conflict.value.instance, conflict.value.trace_id) == (ID, first.trace_id)


async def test_a_model_is_as_good_an_input_as_json(client: Client) -> None:
    line = OrderLine(sku="book", quantity=1)
    model = Checkout(order=Order(id="A-1", customer="C-1", lines=[line], total_cents=990))
    started = await client.start(checkout, model)
    assert len(started.key) == 32
    assert (await client.get(started.instance)).state["order"] == order()["order"]


async def test_an_unknown_definition_is_named_with_those_that_exist(client: Client) -> None:
    with pytest.raises(UnknownDefinition, match="order-checkout"):
        await client.start("nothing", {})


async def test_an_unknown_version_is_refused_with_its_field(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="deployed are: 1") as refused:
        await client.start("order-checkout", order(), version=7)
    assert refused.value.field == "version"


@shared
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input.order"),
        (order(total_cents=-1), "input.order.total_cents"),
        (order(lines=[]), "input.order.lines"),
        (order(lines=[{"sku": "x"}]), "input.order.lines.0.quantity"),
        (order(colour="red"), "input.order.colour"),
        ({**order(), "more": 1}, "input.more"),
        ({"order": math.nan}, "input"),
        ({"order": math.inf}, "input"),
        ({"order": "\ud800"}, "input"),
        ({"order": object()}, "input"),
    ],
)
async def test_an_input_that_is_wrong_is_refused_before_it_is_sent(
    refusing: Client, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await refusing.start("order-checkout", body, key="A-1")
    assert refused.value.field == field


@shared
async def test_nothing_of_a_refused_request_reaches_the_log(refusing: Client) -> None:
    parts = refusing._parts
    before = await parts.log.end_offsets([parts.topics.inputs])
    with pytest.raises(InvalidRequest):
        await refusing.start("order-checkout", order(lines=[]), key="A-1")
    with pytest.raises(InvalidRequest):
        await refusing.cancel("no id")
    assert await parts.log.end_offsets([parts.topics.inputs]) == before


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str = ""

    @field_validator("text")
    @classmethod
    def _breaks(cls, value: str) -> str:
        return {"": "", "long": "long", "x" * 2_000_000: "long"}[value]


class Nothing(BaseModel):
    pass


@step(Contract("do-it", Nothing, Nothing, queue="q"))
def do_it(s: Loose) -> Nothing:
    return Nothing()


loose = Saga("loose", Loose, flow=[do_it])


async def test_a_model_may_allow_unknown_fields_itself(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=Registry([loose])) as up:
        await up.client.start(loose, {"anything": [1]}, key="k")
        assert (await up.client.get("loose/k")).state["anything"] == [1]


async def test_an_input_deeper_than_what_is_kept_is_refused_with_its_field(tmp_path: Path) -> None:
    """One level less is taken, kept and read back."""
    async with stack(tmp_path, registry=Registry([loose])) as up:
        lists: Any = []
        for _ in range(DEPTH_MAX - 2):
            lists = [lists]
        await up.client.start(loose, {"anything": lists}, key="k")
        assert (await up.client.get("loose/k")).state["anything"] == lists
        with pytest.raises(InvalidRequest, match=f"more than {DEPTH_MAX} levels") as refused:
            await up.client.start(loose, {"anything": [lists]}, key="l")
        assert refused.value.field == "input"


async def test_a_state_model_whose_own_check_breaks_is_no_crash(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=Registry([loose])) as up:
        with pytest.raises(InvalidRequest, match="KeyError"):
            await up.client.start(loose, {"text": "a"})


@pytest.mark.slow
async def test_a_value_over_the_limit_of_the_log_is_refused_with_its_size(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=Registry([loose])) as up:
        with pytest.raises(ValueTooLarge):
            await up.client.start(loose, {"other": "x" * 1_000_000})
        with pytest.raises(InvalidRequest, match="the limit is"):
            await up.client.start(loose, {"other": "x" * 600_000})


async def test_acts_are_answered_by_their_decision(client: Client) -> None:
    await client.start(checkout, order(), key="A-1")
    paused = await client.act(ID, ActName.PAUSE, by="ann")
    assert (paused.changed, paused.status, paused.revision) == (True, Status.RUNNING, 2)
    assert (await client.get(ID)).paused
    assert not (await client.act(ID, ActName.PAUSE)).changed
    assert (await client.act(ID, ActName.RESUME)).changed
    cancelled = await client.cancel(ID, by="ann", reason="changed her mind")
    assert cancelled.status is Status.COMPENSATING
    document = await client.get(ID)
    assert document.cause is not None
    assert document.cause.message == "cancelled by ann: changed her mind"


async def test_an_illegal_act_is_refused_with_the_reason(client: Client) -> None:
    await client.start(checkout, order(), key="A-1")
    with pytest.raises(ActDenied, match="does not need attention") as refused:
        await client.act(ID, ActName.RETRY)
    assert (refused.value.instance, refused.value.act, refused.value.status) == (ID, "retry", "running")


async def test_an_act_on_nothing_is_told_so(client: Client) -> None:
    with pytest.raises(UnknownInstance):
        await client.cancel("order-checkout/none")
    with pytest.raises(UnknownInstance):
        await client.get("order-checkout/none")
    with pytest.raises(UnknownInstance):
        await client.history("order-checkout/never-named")


@shared
@pytest.mark.parametrize(
    "instance", ["", "x", "/", "x/", "/x", "UPPER/x", "a b/x", "a/\x00", "a/..", "a/" + "x" * 2_047]
)
async def test_what_is_not_an_id_is_refused(refusing: Client, instance: str) -> None:
    for call in (refusing.get, refusing.cancel, refusing.history):
        with pytest.raises(InvalidRequest) as refused:
            await call(instance)
        assert refused.value.field == "instance"


@shared
@pytest.mark.parametrize(
    ("more", "field"), [({"by": "x" * 257}, "by"), ({"reason": "x" * 2001}, "reason"), ({"by": "a\x07"}, "by")]
)
async def test_texts_of_an_act_are_bounded(refusing: Client, more: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await refusing.cancel(ID, **more)  # type: ignore[arg-type]  # texts only
    assert refused.value.field == field


async def test_lists_are_filtered_and_paged(client: Client) -> None:
    for n in range(5):
        await client.start(checkout, order(), key=f"K-{n}")
    await client.cancel("order-checkout/K-3")
    cancelled = await client.list(InstanceFilter(statuses=(Status.COMPENSATING,)))
    assert [each.key for each in cancelled.documents] == ["K-3"]
    page = await client.list(limit=2)
    rest = await client.list(limit=9, cursor=page.cursor)
    found = [each.key for each in (*page.documents, *rest.documents)]
    assert found == ["K-4", "K-3", "K-2", "K-1", "K-0"]


async def test_without_an_engine_a_start_is_accepted_and_decided_later(tmp_path: Path) -> None:
    async with stack(tmp_path, engine=False) as up:
        with pytest.raises(NotYetDecided) as later:
            await up.client.start(checkout, order(), key="A-1", wait=timedelta(milliseconds=30))
        assert later.value.instance == ID
        assert up.feed.waiting_count == 0
    async with stack(tmp_path) as up:
        assert not (await up.client.start(checkout, order(), key="A-1")).created


async def test_a_caller_that_gives_up_leaves_no_waiter(tmp_path: Path) -> None:
    async with stack(tmp_path, engine=False) as up:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await up.client.start(checkout, order(), key="A-1")
        assert up.feed.waiting_count == 0


async def test_how_many_may_wait_is_bounded(tmp_path: Path) -> None:
    async with stack(tmp_path, engine=False) as up:
        feed = Feed(up.log, up.topics, waiters_max=1)
        async with running(feed.run()), feed.expect("one", timeout=5):
            with pytest.raises(TransientError, match="try again later"):
                async with feed.expect("two", timeout=5):
                    pass


async def test_a_log_that_is_gone_is_said(up: Stack) -> None:
    await up.client.start(checkout, order(), key="A-1")
    await up.log.close()
    with pytest.raises(LogUnavailable):
        await up.client.start(checkout, order(), key="A-2")
    with pytest.raises(LogUnavailable):
        await up.client.check_ready()


async def test_ready_when_the_feed_is_open_and_the_read_model_near(up: Stack) -> None:
    await up.client.start(checkout, order(), key="A-1")
    await up.client.check_ready()


@pytest.mark.parametrize(
    "key", ["", "x" * 257, "é" * 257, "🛒" * 129, "a\nb", "\x00", "\x7f", "\x85", "\u2028", "\ud800", ".", ".."]
)
def test_a_key_that_cannot_be_an_identity_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_key(key)
    assert refused.value.field == "key"


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_a_key_is_taken_as_it_is_or_refused_and_then_fits_an_id(key: str) -> None:
    try:
        taken = check_key(key)
    except InvalidRequest:
        return
    assert taken == key
    assert 1 <= len(key.encode()) <= 512
    assert split_instance(f"order-checkout/{key}") == ("order-checkout", key)


async def test_lists_at_the_same_time_all_wait_for_the_write_of_their_client(
    up: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await up.client.start("order-checkout", order(), key="A-1")
    passed, goes_on, asked = up.projector.passed, asyncio.Event(), 0

    async def late(*of: Any, timeout: float) -> bool:
        nonlocal asked
        asked += 1
        await goes_on.wait()
        return await passed(*of, timeout=timeout)

    monkeypatch.setattr(up.projector, "passed", late)
    lists = [asyncio.create_task(up.client.list(InstanceFilter(), limit=10)) for _ in range(2)]
    while asked < 2:  # nothing tells of it
        assert not any(each.done() for each in lists)
        await asyncio.sleep(0.01)
    goes_on.set()
    assert [len((await each).documents) for each in lists] == [1, 1]
    await up.client.list(InstanceFilter(), limit=10)
    assert asked == 2  # what was seen is not waited for again
