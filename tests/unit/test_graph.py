"""Graphs: every node of the language is drawn, by rules that Mermaid and Graphviz read, and a live instance on it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client.graphs import drawn
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, pivot
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples import order_checkout as shop
from sagaline.sagas.examples.invoice_import import count, invoice_import
from sagaline.sagas.graph import Format, Graph, as_dot, as_json, as_mermaid, as_text, graph_of
from sagaline.sagas.nodes import (
    Escalation,
    ask,
    choose,
    each,
    emit,
    expect,
    loop,
    parallel,
    route,
    run,
    scatter,
    sleep,
    wait,
    when,
)
from tests.repo.graph_page import EXAMPLES, PAGE, fences, written

from .kernel_nodes import HOUR, Did, Do, Offer, Talk, flow_of, leg, paid
from .stack import Stack, order, stack


def everything() -> AnyDefinition:
    """A saga with every node of the language."""
    child = flow_of(leg("inner"), name="child")

    @scatter(Contract("quote", Do, Offer, queue="q"), queues=("q1", "q2"), into="offers", deadline=HOUR, name="quotes")
    def quotes(s: Talk) -> Do:
        return Do()

    return flow_of(
        leg("a", locks="order:{n}"),
        parallel(leg("b"), [leg("c"), leg("d")], need=1, undo="parallel", name="both"),
        choose(when(lambda s: True, leg("e", read_only=True)), otherwise=None, name="either"),
        route("prices", by=lambda s: {}, to={"here": leg("f"), "there": leg("g")}, otherwise="here", name="where"),
        loop(leg("h"), while_=lambda s: False, rounds_max=7, name="again"),
        quotes,
        each(child, of=lambda s: [], name="parts"),
        wait(expect(paid, key=lambda s: "k"), timeout=HOUR, name="payment"),
        sleep("doze", timedelta(minutes=90)),
        ask(
            "sure",
            Did,
            question=lambda s: "?",
            who=lambda s: ["ann"],
            into="did",
            due=HOUR,
            escalation=Escalation(after=timedelta(minutes=5), to=["bob"]),
        ),
        pivot,
        emit(paid, lambda s: paid.model(amount=1), key=lambda s: "k"),
        run(flow_of(leg("last", undo=False), name="other"), lambda s: Talk(), name="sub"),
    )


def test_every_node_of_the_language_is_drawn() -> None:
    """With what a reader wants to know of it."""
    text = as_mermaid(graph_of(everything()))
    for words in [
        "do-a → q<br>within 1 min, 2 attempts<br>locks order:{n}",
        "undo a<br>undo-a → q",
        "needs 1 of 2<br>remaining branches: undo<br>undone in parallel",
        "read only",
        "from table prices",
        "at most 7 rounds",
        "needs all, at least 1",
        "each child",
        "10 at once<br>0 may fail",
        "waits for paid<br>within 1 h, then it fails",
        "sleeps 90 min",
        "asks for Did<br>within 1 h<br>after 5 min also bob",
        "forward only from here",
        "emits paid",
        "run other",
    ]:
        assert words in text, words
    for edge in ('-->|"e"|', '-->|"none"|', '-->|"here"|', '-->|"there"|', '-->|"again"|', '-->|"done"|'):
        assert edge in text


@pytest.mark.parametrize("definition", [*EXAMPLES, everything()], ids=lambda each: each.name)
def test_what_is_drawn_holds_together(definition: AnyDefinition) -> None:
    """One end for each start, everything can be reached, and every edge leads from one vertex to another."""
    graph = graph_of(definition)
    ids = {vertex.id for vertex in graph.vertices}
    assert len(ids) == len(graph.vertices)
    assert {id for edge in graph.edges for id in (edge.source, edge.target)} <= ids
    _check_mermaid(as_mermaid(graph), ids)
    _check_dot(as_dot(graph), ids)
    assert json.loads(as_text(graph, Format.JSON)) == json.loads(json.dumps(as_json(graph)))
    if definition.tree and any(vertex.kind == "start" for vertex in graph.vertices):
        reached, more = set(), {"n1"}
        while more:
            reached |= more
            more = {edge.target for edge in graph.edges if edge.source in reached} - reached
        assert reached == ids


def _check_mermaid(text: str, ids: set[str]) -> None:
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    declared, depth = set(), 0
    for line in lines[1:]:
        line = line.strip()
        if found := re.fullmatch(
            r'(n\d+)(\[\[|\[/|\[\\|\(\[|\(\(|\{\{|\[|\{|\(|>)"([^"]*)"(\]\]|/\]|\]\)|\)\)|\}\}|\]|\}|\))(:::[\w-]+)?',
            line,
        ):
            declared.add(found[1])
        elif re.fullmatch(r'subgraph g\d+\["[^"]*"\]', line):
            depth += 1
        elif line == "end":
            depth -= 1
        else:
            edge = re.fullmatch(r'(n\d+) (?:-\.->|-->(?:\|"[^"]*"\|)?) (n\d+)', line)
            assert edge or re.fullmatch(r"classDef [\w-]+ \S+", line), line
    assert (declared, depth) == (ids, 0)


def _check_dot(text: str, ids: set[str]) -> None:
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert bare.count("{") == bare.count("}")
    assert set(re.findall(r"^\s*(n\d+) \[", bare, re.M)) == ids
    assert all(line.endswith(("{", "}", ";")) for line in bare.splitlines())


def test_a_hostile_text_stays_a_label() -> None:
    """Nothing of it is read as part of the picture."""
    saga = flow_of(leg("a", locks='"]; end <b>#1&`\\'))
    graph = graph_of(saga)
    ids = {vertex.id for vertex in graph.vertices}
    _check_mermaid(as_mermaid(graph), ids)
    _check_dot(as_dot(graph), ids)
    assert "<b>" not in as_mermaid(graph)


def test_an_instance_is_drawn_on_its_definition() -> None:
    """Done, under way, undone, failed, to come."""
    charging = Scene.start(shop.checkout).ok("reserve")
    assert _statuses(drawn(shop.checkout, charging.document)) == {
        "reserve": "done",
        "charge": "running",
        "book": "to come",
        "pivot": "to come",
        "ship": "to come",
    }
    turned = _statuses(drawn(shop.checkout, charging.time_out("charge").document), undos=True)
    assert (turned["charge"], turned["reserve"], turned["book"]) == ("running", "to come", None)
    ended = charging.rejects("charge").undo_ok("reserve").document
    assert _statuses(drawn(shop.checkout, ended))["reserve"] == "undone"
    assert _statuses(drawn(shop.checkout, ended))["charge"] == "failed"
    assert _statuses(drawn(shop.checkout, ended))["ship"] == "dropped"
    assert ":::undone" in as_mermaid(drawn(shop.checkout, ended))
    assert 'fillcolor="#e1d5f0"' in as_dot(drawn(shop.checkout, ended))


def test_parts_and_rounds_are_counted() -> None:
    """How many of how many."""
    begun = Scene.start(invoice_import).ok(count.name, {"rows": 3}).ok("book")
    assert "1 of 3" in as_mermaid(drawn(invoice_import, begun.document))
    saga = flow_of(loop(leg("a"), while_=lambda s: True, rounds_max=3, name="again"))
    assert "round 2" in as_mermaid(drawn(saga, Scene.start(saga).ok("a@1").document))


def _statuses(graph: Graph, *, undos: bool = False) -> dict[str, str | None]:
    return {each.name: each.status for each in graph.vertices if each.name and (each.kind == "undo") is undos}


def test_the_page_shows_the_examples_as_they_are() -> None:
    """``make graphs`` writes them."""
    assert written(PAGE.read_text()) == PAGE.read_text()
    assert len(fences(PAGE.read_text())) == len(EXAMPLES)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as running_stack:
        yield running_stack


async def test_the_api_draws_definitions_and_instances(up: Stack) -> None:
    """In three formats; an unknown name is told which there are."""
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        await api.post("/v1/sagas/order-checkout", json={"key": "A-1", "input": order()})
        whole = (await api.get("/v1/definitions/order-checkout/graph")).json()
        assert whole["text"] == as_mermaid(graph_of(shop.checkout))
        live = (await api.get("/v1/instances/order-checkout/A-1/graph", params={"format": "dot"})).json()
        assert 'fillcolor="#fff3c4"' in live["text"]
        assert (await api.get("/v1/definitions/nothing/graph")).status_code == 404
        assert (await api.get("/v1/instances/order-checkout/B-1/graph")).status_code == 404
        assert (await api.get("/v1/definitions/order-checkout/graph?format=png")).status_code == 422
