"""The first day: what docs/sagas.md and docs/workers.md show, written into an empty folder and run in order.

Engine, workers and API are three processes. Then each mistake of the page's table is made, and its message must come.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .collector import collector
from .test_readme import PATIENCE_SECONDS, ROOT, background, environment, free_port, run

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

PAGES = [(ROOT / "docs" / name).read_text() for name in ("sagas.md", "workers.md")]


def write_files(folder: Path) -> set[str]:
    """The files of the two pages: a block of code begins with the name of the file that it belongs to."""
    parts: dict[str, list[str]] = defaultdict(list)
    for page in PAGES:
        for name, body in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.S):
            parts[name].append(body)
    for name, bodies in parts.items():
        (folder / name).write_text("\n\n".join(bodies))
    return set(parts)


def commands(holding: str) -> list[list[str]]:
    """The commands of the block that holds some text."""
    blocks = [body for page in PAGES for body in re.findall(r"```console\n(.*?)```", page, re.S)]
    found = next(body for body in blocks if holding in body)
    return [shlex.split(line.removeprefix("$ ")) for line in found.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with the files of the pages, and the environment of its processes."""

    folder: Path
    env: dict[str, str]
    spans: list[Span] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)

    def run(self, command: list[str]) -> str:
        return run(command, self.folder, self.env)

    def start(self, key: str, sku: str, cents: int) -> None:
        body = {"key": key, "input": {"order": key, "sku": sku, "cents": cents}}
        httpx.post(f"{self.env['SAGALINE_URL']}/v1/sagas/order", json=body).raise_for_status()

    def said(self, command: list[str]) -> tuple[int, str]:
        """The exit code of a command that may fail, and what it says."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def place(folder: Path, **more: str) -> Place:
    port = str(free_port())
    write_files(folder)
    return Place(folder=folder, env=environment(SAGALINE_PORT=port, SAGALINE_URL=f"http://127.0.0.1:{port}", **more))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The three processes of the page, which export to a collector."""
    with collector() as (endpoint, spans, totals), ExitStack() as processes:
        found = place(
            tmp_path_factory.mktemp("shop"),
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_BSP_SCHEDULE_DELAY="200",
            OTEL_METRIC_EXPORT_INTERVAL="500",
        )
        for command in commands("saga api shop:order"):
            processes.enter_context(background(command, found.folder, found.env))
        yield Place(folder=found.folder, env=found.env, spans=spans, totals=totals)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An API without an engine and without workers."""
    found = place(tmp_path_factory.mktemp("alone"))
    with background(["saga", "api", "shop:order"], found.folder, found.env):
        yield found


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A worker whose handler raises, and none for the parcels."""
    found = place(tmp_path_factory.mktemp("faulty"))
    edit(found.folder, "workers.py", 'shelf="B7"', "shelf=shelf")
    with background(["saga", "run", "shop:order", "--worker", "workers:stock", "--api"], found.folder, found.env):
        yield found


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    """The files; nothing runs."""
    return place(tmp_path)


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text, f"{name} has no {old!r}"
    (folder / name).write_text(text.replace(old, new, 1))


def until(reached: Callable[[], object]) -> None:
    """Returns as soon as the condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)


def test_what_the_pages_test_passes(tmp_path: Path) -> None:
    assert write_files(tmp_path) == {"contracts.py", "shop.py", "test_shop.py", "workers.py"}
    for command in commands("pytest"):
        run(command, tmp_path, environment())


def test_an_order_goes_as_the_page_says_and_is_one_trace(shop: Place) -> None:
    """The spans of client, API, engine and workers have one trace id; who answered and published is linked."""
    port = shop.env["SAGALINE_PORT"]
    start, questions, answer, publish, show, history = (
        [part.replace("8080", port) for part in command] for command in commands("curl")
    )
    started = json.loads(shop.run(start))
    trace = started["trace_id"]
    assert started["id"] == "order/A-2"
    until(lambda: "Sell boat for 9000.00?" in shop.run(questions))
    shop.run(answer)
    shop.run(publish)
    until(lambda: "T-A-2" in (seen := shop.run([*show, "--json"])) and json.loads(seen)["status"] == "completed")
    shown = shop.run(show)
    assert [part for part in ("completed", trace) if part not in shown] == []
    assert "ship" in shop.run(history)
    drawn = shop.run(["saga", "trace", "order/A-2"])
    assert [name for name in ("order/A-2", trace, "reserve", "approve", "ship", "█", "░") if name not in drawn] == []

    def spans(name: str) -> list[Span]:
        return [span for span in list(shop.spans) if span.name == name]

    until(lambda: spans("run order") and spans("request answer") and spans("decide Published"))
    until(lambda: len(spans("reply ship-parcel")) == 1)
    ours = [span for span in list(shop.spans) if span.trace_id.hex() == trace]
    names = {span.name for span in ours}
    assert names >= {
        "POST /v1/sagas/{definition}",
        "request start",
        "decide Start",
        "run order",
        "send reserve-stock",
        "handle reserve-stock",
        "reply reserve-stock",
        "decide Act",
        "decide EventDelivered",
        "handle ship-parcel",
    }
    about = [span for span in list(shop.spans) if ("sagaline.instance", "order/A-2") in attributes(span)]
    assert {span.name for span in about if span.trace_id.hex() != trace} == {"request answer"}
    known = {span.span_id for span in ours}
    assert [span.name for span in ours if span.parent_span_id and span.parent_span_id not in known] == []
    (asked,), (published,) = spans("request answer"), spans("decide Published")
    assert linked(asked) == linked(published) == {trace}
    (answered,), (delivered,) = spans("decide Act"), spans("decide EventDelivered")
    assert linked(answered) == {asked.trace_id.hex()}
    assert linked(delivered) == {published.trace_id.hex()}


def attributes(span: Span) -> list[tuple[str, str]]:
    return [(each.key, each.value.string_value) for each in span.attributes]


def linked(span: Span) -> set[str]:
    return {link.trace_id.hex() for link in span.links}


def test_the_metrics_of_the_three_processes_are_seen(shop: Place) -> None:
    """The API shows its own to Prometheus, the engine and the workers export theirs."""
    shop.start("A-9", "tea", 900)
    until(lambda: shop.totals.get("sagaline.decisions applied order", 0) >= 2)

    def shown() -> str:
        return httpx.get(f"{shop.env['SAGALINE_URL']}/metrics").raise_for_status().text

    until(lambda: 'sagaline_inputs_lag{sagaline_partition="0"} ' in shown())
    until(lambda: 'sagaline_queues_unread{sagaline_queue="stock"} 0' in shown())


def spoiled(command: str, name: str, old: str, new: str) -> Callable[[Place], list[str]]:
    """A command after a mistake in a file."""

    def spoil(where: Place) -> list[str]:
        if new not in (where.folder / name).read_text():
            edit(where.folder, name, old, new)
        return command.split()

    return spoil


def plain(command: str) -> Callable[[Place], list[str]]:
    return lambda where: shlex.split(command)


def after(key: str, sku: str, cents: int, command: str) -> Callable[[Place], list[str]]:
    """A command after the start of an order."""

    def prepare(where: Place) -> list[str]:
        where.start(key, sku, cents)
        return shlex.split(command)

    return prepare


MISTAKES: dict[str, tuple[str, Callable[[Place], list[str]]]] = {
    "a misspelt module: `saga run shpo:order`": ("empty", plain("saga run shpo:order")),
    "a misspelt name in it: `saga run shop:oder`": ("empty", plain("saga run shop:oder")),
    "a saga where a worker is expected: `saga worker shop:order`": ("empty", plain("saga worker shop:order")),
    "a syntax error in `shop.py`": ("empty", spoiled("saga run shop:order", "shop.py", "timedelta\n", "timedelta)\n")),
    '`into="stok"`, which is no field of the state': (
        "empty",
        spoiled("saga run shop:order", "shop.py", 'into="stock"', 'into="stok"'),
    ),
    "a step that returns another model than its contract sends": (
        "empty",
        spoiled("saga run shop:order", "shop.py", "reserve(s: Order) -> Purchase", "reserve(s: Order) -> Reserved"),
    ),
    "a handler that takes another model than its contract passes": (
        "empty",
        spoiled("saga worker workers:stock", "workers.py", "reserve(command: Purchase", "reserve(command: Shipped"),
    ),
    "the port is in use": ("shop", plain("saga api shop:order")),
    "no API is running": ("empty", plain("saga show order/A-1")),
    "a misspelt definition: `saga start oder`": ("shop", plain("saga start oder --key A-3 --input {}")),
    "an input that is not JSON": ("shop", plain("saga start order --key A-3 --input {order:")),
    "an input without `cents`": (
        "shop",
        plain("""saga start order --key A-3 --input '{"order": "A-3", "sku": "tea"}'"""),
    ),
    "an input with a field that the state does not have": (
        "shop",
        plain("""saga start order --key A-3 --input '{"order": "A-3", "sku": "tea", "cents": 9, "prize": 9}'"""),
    ),
    "the key of another order": (
        "shop",
        after(
            "A-2",
            "boat",
            900_000,
            """saga start order --key A-2 --input '{"order": "A-2", "sku": "tea", "cents": 9}'""",
        ),
    ),
    "a misspelt key: `saga show order/A-22`": ("shop", plain("saga show order/A-22")),
    "an order is started and no engine is running": (
        "alone",
        plain("""saga start order --key A-1 --input '{"order": "A-1", "sku": "tea", "cents": 9}'"""),
    ),
    "the same, then `saga show`": ("alone", plain("saga show order/A-1")),
    "no worker for a queue is running": (
        "faulty",
        plain("""saga start order --key A-5 --input '{"order": "A-5", "sku": "tea", "cents": 9}'"""),
    ),
    "a handler that raises: `saga show` has its traceback": (
        "faulty",
        after("A-6", "tea", 9, "saga show order/A-6"),
    ),
    "a worker that says no: `saga show` has the reason": (
        "shop",
        after("A-3", "sold-out-boat", 9, "saga show order/A-3"),
    ),
    "an answer of another form than the question's": (
        "shop",
        after("A-4", "boat", 900_000, """saga answer order/A-4 approve --value '{"yse": true}' --by ann"""),
    ),
    "an answer by a person who is not asked": (
        "shop",
        after("A-4", "boat", 900_000, """saga answer order/A-4 approve --value '{"yes": true}' --by bob"""),
    ),
    "a misspelt event": ("shop", plain("saga publish payment-recieved --key A-2 --body {}")),
}
TABLE = PAGES[0].partition("## When something goes wrong")[2]
ROWS = re.findall(r"^\| (.+?) \| `{1,2}(.+?)`{1,2} \| (\d) \|$", TABLE, re.M)


def test_every_mistake_of_the_table_is_made() -> None:
    assert [wrong for wrong, _, _ in ROWS] == list(MISTAKES)
    assert len(ROWS) == TABLE.count("\n|") - 2, "a row that cannot be read"


@pytest.mark.parametrize(("wrong", "message", "code"), ROWS, ids=[wrong for wrong, _, _ in ROWS])
def test_a_mistake_is_said_as_the_table_says(
    request: pytest.FixtureRequest, wrong: str, message: str, code: str
) -> None:
    """The message is a whole line, or a whole cell of a table; it may need a moment until the processes know it."""
    name, prepare = MISTAKES[wrong]
    where: Place = request.getfixturevalue(name)
    expected = re.compile(rf"(^|\s\s){re.escape(message).replace('…', '.+')}($|\s\s)", re.M)
    command, deadline = prepare(where), time.monotonic() + PATIENCE_SECONDS
    while not (expected.search((found := where.said(command))[1]) and found[0] == int(code)):
        assert time.monotonic() < deadline, found[1]
