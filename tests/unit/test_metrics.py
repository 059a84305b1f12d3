"""What is measured: the documented list is the real one, labels are bounded, and Prometheus can read the page."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sagaline.api import create_app
from sagaline.api.settings import ApiSettings
from sagaline.orchestrator import wiring
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.demo.traces import SpanMemory
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.runtime.census import Census
from sagaline.orchestrator.runtime.exposition import CONTENT_TYPE, exposition
from sagaline.orchestrator.runtime.metrics import INSTRUMENTS, Kind, Metrics
from sagaline.orchestrator.settings import Settings
from sagaline.workers.runtime import WorkerRuntime

from ..engine_world import HandClock, open_log, two_steps, world
from .stack import Stack, running, stack
from .test_one_trace import REGISTRY, Order, child, order, refused, until, worker

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-enough-length"
LINE = re.compile(
    r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))"
    r'|[a-z_]+(\{[a-z_]+="([^"\\\n]|\\.)*"(,[a-z_]+="([^"\\\n]|\\.)*")*\})? [0-9.e+-]+'
)


def listed() -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Name, kind, unit and labels, as docs/operations.md has them."""
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| (\w+) \| (\w+) \| ([^|]+) \| ", (ROOT / "docs/operations.md").read_text(), re.M
    )
    return {name: (kind, unit, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, unit, labels in rows}


@asynccontextmanager
async def measured(folder: Path) -> AsyncIterator[tuple[Stack, Metrics, InMemoryMetricReader]]:
    """An engine and a worker whose metrics somebody takes."""
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader], shutdown_on_exit=False))
    async with stack(folder, registry=REGISTRY, metrics=metrics) as up:
        runtime = WorkerRuntime(worker(), up.log, up.topics, up.parts.clock, metrics=metrics)
        async with running(runtime.run()):
            yield up, metrics, reader


def test_the_documented_list_is_what_is_registered() -> None:
    registered = {name: (each.kind.value, each.unit.strip("{}"), each.labels) for name, each in INSTRUMENTS.items()}
    assert listed() == registered


def test_no_label_is_of_what_has_no_end() -> None:
    bounded = {"definition", "outcome", "step", "status", "state", "partition", "source", "queue", "worker", "contract"}
    bounded |= {"group", "subscription", "of", "scope"}
    assert {label for each in INSTRUMENTS.values() for label in each.labels} == bounded
    assert all(each.bounds for each in INSTRUMENTS.values() if each.kind is Kind.HISTOGRAM)


async def test_decisions_durations_and_workers_are_measured_by_what_is_declared(tmp_path: Path) -> None:
    async with measured(tmp_path) as (up, metrics, reader):
        await up.client.start(refused, Order(), key="R")
        await until(up, "refused/R", lambda d: d.status is Status.COMPENSATED)
        stray = Start(id="s", definition="never-heard-of", key="K", input={})
        await up.log.append([encode_request(up.topics.inputs, stray, source="/go", now_ms=0)])
        await up.log.append([encode_request(up.topics.inputs, stray, source="/go", now_ms=0)._replace(value=b"no")])
        async with asyncio.timeout(15):
            while not metrics.counts["dead_letters"]:  # noqa: ASYNC110  # counts tell nobody
                await asyncio.sleep(0.02)
        page = exposition(reader.get_metrics_data())
    counts = metrics.counts
    assert counts["decisions[refused,applied]"] == 4
    assert counts["dead_letters[inputs]"] == 1
    assert counts["workers.commands[packing,charge,rejected]"] == 1
    assert counts["workers.commands[packing,unpack,completed]"] == 1
    assert "never-heard-of" not in page
    assert 'sagaline_decisions_total{sagaline_definition="other"' in page
    for labels in ('step="packing",sagaline_status="done"', 'step="packing",sagaline_status="undone"'):
        assert f'sagaline_steps_duration_seconds_count{{sagaline_definition="refused",sagaline_{labels}}} 1' in page
    ended = 'sagaline_runs_duration_seconds_count{sagaline_definition="refused",sagaline_status="compensated"} 1'
    assert ended in page
    assert re.search(r"^sagaline_batches_commit_seconds_count [1-9]", page, re.M)
    assert re.search(r"^sagaline_partitions_processing 2$", page, re.M)
    assert "refused/R" not in page


async def test_a_timer_is_measured_by_how_late_it_was(tmp_path: Path) -> None:
    async with open_log(tmp_path / "log.db") as log:
        clock = HandClock()
        async with world(log, [two_steps()], clock=clock) as w:
            await w.command(await w.start("A"), "first")
            clock.at_ms += round(timedelta(days=400).total_seconds() * 1000)
            await w.decided("pair/A", lambda entry: entry.message is not None and entry.message.kind == "timer")
            async with asyncio.timeout(15):
                while "timers.lateness" not in w.metrics.values:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.02)
            days = w.metrics.values["timers.lateness"] / 86_400
            assert 300 < days < 400, "the step's own time has passed on time"


async def test_instances_are_counted_by_definition_and_what_is_not_deployed_together(tmp_path: Path) -> None:
    """One that waits for an event is open; one whose code is not there stands in attention."""
    async with measured(tmp_path) as (up, metrics, _):
        census = Census(up.read_model, metrics, ["order", "parcel"])
        await up.client.start(order, Order(), key="A")
        await up.client.start(child, Order(), key="P")
        stray = Start(id="s", definition="never-heard-of", key="K", input={})
        await up.log.append([encode_request(up.topics.inputs, stray, source="/go", now_ms=0)])
        await until(up, "never-heard-of/K", lambda d: d.attention is not None)
        await until(up, "parcel/P", lambda d: d.status is Status.COMPLETED)
        await until(up, "order/A", lambda d: "wait-paid" in d.steps)
        await up.log.append([Outgoing(up.topics.dead, b"k", b"v", (("dead-reason", b"no"),))])
        while True:
            if await up.client.dead.count():
                break
            await asyncio.sleep(0.01)
        await census.count()
    assert metrics.values["dead_letters.open"] == 1
    found = {name: value for name, value in metrics.values.items() if name.startswith("instances") and value}
    assert found == {"instances[order,open]": 1, "instances[other,open]": 1, "instances[other,attention]": 1}
    assert metrics.values["instances[parcel,open]"] == 0


@pytest.mark.parametrize("tokens", [(), (TOKEN,)])
async def test_the_page_asks_for_a_token_as_the_api_does(tmp_path: Path, tokens: tuple[str, ...]) -> None:
    metrics, provider, page = wiring.configure_metrics("sagaline-api", page=True)
    assert provider is not None
    metrics.add("decisions", 3, 'a"b\\', "applied")
    metrics.record("batches.commit", 0.003)
    metrics.set("inputs.lag", 2, "0")
    async with stack(tmp_path, registry=Registry([child]), engine=False) as up:
        app = create_app(up.client, clock=SystemClock(), settings=ApiSettings(tokens=tokens), metrics=page)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            bare = await api.get("/metrics")
            known = await api.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    provider.shutdown()
    assert bare.status_code == (401 if tokens else 200)
    assert (known.status_code, known.headers["content-type"]) == (200, CONTENT_TYPE)
    lines = known.text.splitlines()
    assert [line for line in lines if LINE.fullmatch(line) is None and 'le="+Inf"' not in line] == []
    assert r'sagaline_decisions_total{sagaline_definition="a\"b\\",sagaline_outcome="applied"} 3' in lines
    assert 'sagaline_inputs_lag{sagaline_partition="0"} 2' in lines
    assert 'sagaline_batches_commit_seconds_bucket{le="0.0025"} 0' in lines
    assert 'sagaline_batches_commit_seconds_bucket{le="+Inf"} 1' in lines
    assert "sagaline_batches_commit_seconds_sum 0.003" in lines


@pytest.mark.parametrize(
    ("value", "written"), [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (0.5, "0.5"), (3.0, "3")]
)
def test_a_gauge_of_any_value_is_written_as_prometheus_reads_it(value: float, written: str) -> None:
    """Older SDKs pass on what is not finite."""
    gauge = Metric("a.gauge", None, "s", Gauge([NumberDataPoint({}, None, 0, value)]))
    scope = ScopeMetrics(InstrumentationScope("a"), [gauge], "")
    page = exposition(MetricsData([ResourceMetrics(Resource({}), [scope], "")]))
    assert page.splitlines()[-1] == f"a_gauge_seconds {written}"


def test_a_gauge_stays_on_the_page_until_it_is_set_again() -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader], shutdown_on_exit=False))
    metrics.set("inputs.lag", 2, "0")
    assert [exposition(reader.get_metrics_data()).splitlines()[-1] for _ in range(2)] == [
        'sagaline_inputs_lag{sagaline_partition="0"} 2'
    ] * 2


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({}, "sagaline-api"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,team=a"}, "shop"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop", "OTEL_SERVICE_NAME": "till"}, "till"),
    ],
)
def test_what_the_environment_calls_the_service_goes_before_our_name(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], name: str
) -> None:
    for variable, value in said.items():
        monkeypatch.setenv(variable, value)
    settings = Settings(log="sqlite:///x.db")
    _, provider = wiring.configure_tracing(settings, "sagaline-api", SpanMemory())
    assert provider is not None
    assert provider.resource.attributes["service.name"] == name
    assert provider.resource.attributes.get("team") == ("a" if "team" in str(said) else None)
    provider.shutdown()
