"""One act on many instances: told first, asked at most once each, and gone on with where it broke off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import Bulk, Fate, OnStep, act_on_many
from sagaline.orchestrator.errors import InvalidRequest, LogUnavailable
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.ports.read_model import InstanceFilter
from sagaline.sagas import pivot

from .kernel_nodes import flow_of, leg
from .stack import Stack, stack

TALK = InstanceFilter(definition="talk")


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    """Five instances of one definition and one of another, each with its first step under way."""
    definitions = [flow_of(leg("a"), leg("b")), flow_of(pivot, leg("a", undo=False), name="other")]
    async with stack(tmp_path, registry=Registry(definitions)) as running_stack:
        for key in "12345":
            await running_stack.client.start("talk", {"n": int(key)}, key=key)
        await running_stack.client.start("other", {}, key="1")
        yield running_stack


def bulk(act: ActName, **more: Any) -> Bulk:
    return Bulk(**{"id": "b-1", "act": act, "where": TALK, "by": "ann", "reason": "night", **more})


async def fates(up: Stack, asked: Bulk, *, dry_run: bool = False, **more: Any) -> dict[str, Fate]:
    page = await act_on_many(up.client, asked, dry_run=dry_run, **more)
    return {each.instance: each.fate for each in page.asked}


async def test_a_dry_run_tells_what_would_become_of_it_and_asks_nobody(up: Stack) -> None:
    """By the decision that the engine would make."""
    page = await act_on_many(up.client, bulk(ActName.PAUSE), dry_run=True)
    assert page.counts == {Fate.DONE: 5, Fate.UNCHANGED: 0, Fate.DENIED: 0, Fate.UNSURE: 0, Fate.FAILED: 0}
    assert not any(each.paused for each in (await up.client.list(TALK)).documents)
    refused = await act_on_many(up.client, bulk(ActName.RETRY), dry_run=True)
    assert {(each.fate, each.reason) for each in refused.asked} == {
        (Fate.DENIED, "it is running and does not need attention")
    }
    same = await act_on_many(up.client, bulk(ActName.RESUME), dry_run=True)
    assert {(each.fate, each.reason) for each in same.asked} == {(Fate.UNCHANGED, "nothing to change")}


async def test_what_a_dry_run_tells_is_what_then_happens(up: Stack) -> None:
    """Only to those that the filter means."""
    acts = (ActName.RETRY, ActName.PAUSE, ActName.PAUSE, ActName.RESUME, ActName.CANCEL, ActName.CANCEL)
    for number, act in enumerate(acts):
        told = await fates(up, bulk(act, id=f"b-{number}"), dry_run=True)
        assert await fates(up, bulk(act, id=f"b-{number}")) == told
    assert {each.status for each in (await up.client.list(TALK)).documents} == {Status.COMPENSATING}
    assert (await up.client.get("other/1")).status is Status.RUNNING


async def test_a_bulk_may_name_its_instances(up: Stack) -> None:
    """Each once, and no others, whatever their step and age; one that does not exist is denied alone."""
    named = bulk(ActName.PAUSE, where=InstanceFilter(), instances=["talk/2", "other/1", "talk/2"])
    assert await fates(up, named) == {"talk/2": Fate.DONE, "other/1": Fate.DONE}
    assert [each.key for each in (await up.client.list(TALK)).documents if each.paused] == ["2"]
    gone = bulk(ActName.RESUME, where=InstanceFilter(), instances=["talk/nobody", "talk/2"])
    for dry_run in (True, False):
        page = await act_on_many(up.client, gone, dry_run=dry_run)
        assert [(each.instance, each.fate, each.code) for each in page.asked] == [
            ("talk/nobody", Fate.DENIED, ReasonCode.NO_SUCH_INSTANCE),
            ("talk/2", Fate.DONE, None),
        ]
    assert not (await up.client.get("talk/2")).paused
    everybody: dict[str, Any] = {"where": InstanceFilter(), "instances": ["talk/2"]}
    for wrong in (
        {"instances": ["talk/2"]},
        everybody | {"instances": ["talk/2"] * 101},
        everybody | {"older_than": timedelta(0)},
        everybody | {"step": "a"},
    ):
        with pytest.raises(InvalidRequest) as refused:
            await fates(up, bulk(ActName.RESUME, **wrong))
        assert refused.value.field == "instances"


async def test_the_same_bulk_again_asks_nobody_twice(up: Stack) -> None:
    """Whatever happened in between; another bulk does."""
    assert set((await fates(up, bulk(ActName.PAUSE), limit=3)).values()) == {Fate.DONE}
    await up.client.act("talk/5", ActName.RESUME)
    again = await fates(up, bulk(ActName.PAUSE))
    assert again == {**{f"talk/{key}": Fate.UNCHANGED for key in "345"}, "talk/1": Fate.DONE, "talk/2": Fate.DONE}
    assert not (await up.client.get("talk/5")).paused
    await fates(up, bulk(ActName.PAUSE, id="b-2"))
    assert (await up.client.get("talk/5")).paused


async def test_bulks_whose_long_ids_begin_alike_are_two(up: Stack) -> None:
    """An id has as many characters as an Idempotency-Key."""
    for last in "ab":
        assert set((await fates(up, bulk(ActName.PAUSE, id="x" * 255 + last))).values()) == {Fate.DONE}
        await fates(up, bulk(ActName.RESUME, id=f"resume-{last}"))


async def test_pages_lead_through_all_and_meet_nobody_twice(up: Stack) -> None:
    """Although what is asked moves to the front."""
    met: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = await act_on_many(up.client, bulk(ActName.PAUSE), dry_run=False, limit=2, cursor=cursor, concurrency=1)
        met += [each.instance for each in page.asked]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(met) == [f"talk/{key}" for key in "12345"]


async def test_age_and_step_and_end_leave_instances_out(up: Stack) -> None:
    """What has ended is asked only when its status is named."""
    assert await fates(up, bulk(ActName.PAUSE, older_than=timedelta(hours=1)), dry_run=True) == {}
    assert len(await fates(up, bulk(ActName.PAUSE, older_than=timedelta(0)), dry_run=True)) == 5
    assert await fates(up, bulk(ActName.PAUSE, step="b"), dry_run=True) == {}
    assert len(await fates(up, bulk(ActName.PAUSE, step="a", where=InstanceFilter()), dry_run=True)) == 6
    page = await act_on_many(up.client, bulk(ActName.PAUSE, step="b"), dry_run=True)
    assert page.looked_at == 5
    await up.client.act("other/1", ActName.SKIP, on=OnStep("a", {}))
    ended = InstanceFilter(definition="other")
    assert await fates(up, bulk(ActName.PAUSE, where=ended), dry_run=True) == {}
    named = ended._replace(statuses=(Status.COMPLETED,))
    assert await fates(up, bulk(ActName.PAUSE, where=named), dry_run=True) == {"other/1": Fate.DENIED}


async def test_pages_are_full_of_open_instances_when_no_status_is_asked_for(up: Stack) -> None:
    """However many have ended: they are not looked at."""
    await up.client.act("other/1", ActName.SKIP, on=OnStep("a", {}))
    page = await act_on_many(up.client, bulk(ActName.PAUSE, where=InstanceFilter(key="1")), dry_run=True, limit=1)
    assert ([each.instance for each in page.asked], page.looked_at) == (["talk/1"], 1)


async def test_an_act_on_a_step_is_about_the_step_that_is_filtered_by(up: Stack) -> None:
    """Or about the one that is named; what it brings is the same for all."""
    skipped = await fates(up, bulk(ActName.SKIP, step="a", on=OnStep(value={"ok": True})))
    assert set(skipped.values()) == {Fate.DONE}
    assert {*(await up.client.get("talk/1")).steps} == {"a", "b"}
    other = await fates(up, bulk(ActName.SKIP, step="b", on=OnStep("a", {})), dry_run=True)
    assert set(other.values()) == {Fate.DENIED}
    for dry_run in (True, False):
        page = await act_on_many(up.client, bulk(ActName.SKIP, step="b", on=OnStep("a", {})), dry_run=dry_run)
        assert {each.code for each in page.asked} == {ReasonCode.WRONG_STATUS}
    wrong = bulk(ActName.EDIT, on=OnStep(value={"patch": 5}))
    for dry_run in (True, False):
        page = await act_on_many(up.client, wrong, dry_run=dry_run)
        assert {(each.fate, each.code) for each in page.asked} == {(Fate.DENIED, ReasonCode.INVALID)}
    patch = {"patch": [{"op": "replace", "path": "/n", "value": 9}]}
    edited = await fates(up, bulk(ActName.EDIT, on=OnStep(value=patch)))
    assert set(edited.values()) == {Fate.DONE}
    assert (await up.client.get("talk/3")).state["n"] == 9
    assert set((await fates(up, bulk(ActName.EDIT, on=OnStep(value=patch)))).values()) == {Fate.UNCHANGED}


@pytest.mark.parametrize(
    ("more", "field", "message"),
    [
        ({"act": ActName.FORK}, "act", "fork needs a key for each instance; send it to each instance"),
        ({"id": ""}, "id", "the id is empty; omit it, or give one"),
        ({"id": "x" * 257}, "id", "id has 257 characters; give at most 256"),
        ({"where": InstanceFilter()}, "", "the bulk selects no instances; give a definition, status, age or step"),
        ({"by": "x" * 300}, "by", "by has 300 characters; give at most 256"),
    ],
)
async def test_a_bulk_that_is_wrong_for_everybody_asks_nobody(
    up: Stack, more: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await act_on_many(up.client, bulk(ActName.PAUSE, **more) if "act" not in more else bulk(**more), dry_run=False)
    assert (caught.value.field, str(caught.value)) == (field, message)


async def test_what_cannot_be_asked_has_failed_and_the_same_bulk_asks_it_later(up: Stack) -> None:
    """One that fails keeps nobody from being asked."""
    append, broken = up.log.append, {"talk/2", "talk/4"}

    async def failing(records: Any) -> Any:
        if any(record.key.decode() in broken for record in records):
            raise LogUnavailable("the log is away")
        return await append(records)

    up.log.append = failing  # type: ignore[method-assign]  # the log is away for some
    page = await act_on_many(up.client, bulk(ActName.PAUSE), dry_run=False)
    assert {each.instance for each in page.asked if each.fate is Fate.FAILED} == broken
    assert {each.reason for each in page.asked if each.fate is Fate.FAILED} == {"the log is away"}
    broken.clear()
    again = await fates(up, bulk(ActName.PAUSE))
    assert sorted(key for key, fate in again.items() if fate is Fate.DONE) == ["talk/2", "talk/4"]


async def test_a_bulk_goes_over_http(up: Stack) -> None:
    """A dry run unless it is told; a wrong field is named."""
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        body: dict[str, Any] = {"act": "pause", "definition": "talk", "older_than_seconds": 0, "limit": 2}
        dry = (await api.post("/v1/bulk", json=body)).json()
        assert (dry["dry_run"], dry["counts"]["done"], dry["looked_at"]) == (True, 2, 2)
        done = (await api.post("/v1/bulk", json={**body, "dry_run": False, "id": dry["id"]})).json()
        assert [each["fate"] for each in done["asked"]] == ["done", "done"]
        rest = (await api.post("/v1/bulk", json={**body, "cursor": done["cursor"], "status": "running"})).json()
        assert len(rest["asked"]) == 2
        for wrong, field in (
            ({**body, "act": "explode"}, "act"),
            ({**body, "status": "asleep"}, "status.0"),
            ({**body, "limit": 1_000}, "limit"),
            ({**body, "cursor": "?"}, "cursor"),
            ({"act": "pause"}, ""),
            ({**body, "dry": True}, "dry"),
        ):
            answer = await api.post("/v1/bulk", json=wrong)
            assert (answer.status_code, answer.json().get("field", "")) == (422, field), wrong
