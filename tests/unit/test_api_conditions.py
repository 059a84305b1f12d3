"""``If-Match`` on acts and ``Idempotency-Key`` on requests: decided by the engine, whatever came in between."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from sagaline.orchestrator.errors import ReadModelCleared
from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.scenes.scene import Scene

from .kernel_nodes import flow_of, leg
from .stack import Stack, order, stack
from .test_api_instances import http
from .test_api_problems import START, told

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with stack(tmp_path_factory.mktemp("api")) as running_stack:
        yield running_stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


async def started(api: httpx.AsyncClient, key: str) -> str:
    answer = await api.post(START, json={"key": key, "input": order(key)})
    assert answer.status_code == 201
    return str(answer.headers["location"])


async def test_an_act_that_expects_another_revision_is_denied_by_the_decision() -> None:
    document = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").document
    assert document is not None
    ask = {"id": "r", "instance": "talk/k", "act": ActName.PAUSE}
    for expected in ("x-1", f"{document.incarnation}-{document.revision - 1}", f"other-{document.revision}"):
        asked = Act(**ask, expected=expected)  # type: ignore[arg-type]  # of several types
        denied = decide(flow_of(leg("a"), leg("b")), document, Arrival(message=asked, now_ms=9))
        assert (denied.outcome, denied.code) == (Outcome.DENIED, ReasonCode.REVISION_DIFFERS)
        assert document.tag in denied.reason
        assert denied.document == document
    fitting = Act(**ask, expected=document.tag)  # type: ignore[arg-type]  # of several types
    done = decide(flow_of(leg("a"), leg("b")), document, Arrival(message=fitting, now_ms=9))
    assert done.outcome is Outcome.APPLIED
    again = decide(flow_of(leg("a"), leg("b")), done.document, Arrival(message=fitting, now_ms=9))
    assert (again.outcome, again.code) == (Outcome.UNCHANGED, ReasonCode.DUPLICATE), "its own act made the new revision"


async def test_if_match_of_an_older_revision_is_412_with_the_tag_of_now(api: httpx.AsyncClient) -> None:
    item = await started(api, "M-1")
    seen = (await api.get(item)).headers["etag"]
    assert (await api.post(f"{item}/pause", headers={"if-match": seen})).status_code == 200
    late = await api.post(f"{item}/cancel", headers={"if-match": seen})
    now = (await api.get(item)).headers["etag"]
    assert told(late, 412, "revision-differs")["code"] == "revision-differs"
    assert late.headers["etag"] == now != seen
    tried = await api.post(f"{item}/cancel?dry_run=true", headers={"if-match": seen})
    assert tried.json()["outcome"] == "denied"
    assert (await api.get(item)).json()["status"] == "running"
    for any_of_now in ("*", now, f'"x-1", {now}'):
        assert (await api.post(f"{item}/pause", headers={"if-match": any_of_now})).status_code == 200
    assert (await api.post(f"{item}/resume", headers={"if-match": now})).json()["changed"] is True


async def test_a_denial_is_told_although_the_tag_of_now_cannot_be_read(
    up: Stack, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = await started(api, "M-2")

    async def away(*_: object) -> None:
        raise ReadModelCleared("t")

    monkeypatch.setattr(up.read_model, "get", away)
    late = await api.post(f"{item}/cancel", headers={"if-match": '"x-1"'})
    told(late, 412, "revision-differs")
    assert "etag" not in late.headers


@pytest.mark.parametrize("wrong", ["1", "x-1", '"', "", 'W/"x-1"'])
async def test_if_match_that_is_no_tag_of_an_instance_is_422(api: httpx.AsyncClient, wrong: str) -> None:
    answer = await api.post("/v1/instances/order-checkout/none/pause", headers={"if-match": wrong})
    told(answer, 422, "invalid-request", "If-Match")


async def test_an_act_with_the_same_idempotency_key_acts_once(api: httpx.AsyncClient) -> None:
    item, key = await started(api, "I-1"), {"idempotency-key": '"k-1"'}
    assert (await api.post(f"{item}/pause", headers=key)).json()["changed"] is True
    assert (await api.post(f"{item}/pause", headers={"idempotency-key": "k-1"})).json()["changed"] is False
    told(await api.post(f"{item}/resume", headers=key), 409, "request-taken")


async def test_a_start_without_a_key_is_repeated_by_its_idempotency_key(api: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "start-7"}
    first = await api.post(START, json={"input": order("S")}, headers=key)
    again = await api.post(START, json={"input": order("S")}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["location"] == again.headers["location"]
    told(await api.post(START, json={"input": order("other")}, headers=key), 409, "start-conflict")


@pytest.mark.parametrize(
    ("header", "body"), [("", {}), ('"', {}), ("x" * 257, {}), ("a\x7fb", {}), ("one", {"request_id": "other"})]
)
async def test_a_wrong_idempotency_key_is_422(api: httpx.AsyncClient, header: str, body: dict[str, str]) -> None:
    item, key = "/v1/instances/order-checkout/none/pause", {"idempotency-key": header}
    told(await api.post(item, json=body, headers=key), 422, "invalid-request", "Idempotency-Key")
