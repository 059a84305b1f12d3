"""Which definition decides: by name and version, children with their parents, and the newest one that migrates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.entity_messages import Published
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, DefinitionError, Event, Saga, step
from sagaline.sagas.nodes import run
from sagaline.sagas.process_manager import Next, ProcessManager

from .kernel_nodes import Did, Do, Talk, leg


class Placed(BaseModel):
    """The body of an event."""

    id: str


placed = Event("placed", Placed)


def saga(name: str = "talk", version: int = 1, *steps: Any) -> Saga[Talk]:
    return Saga(name, Talk, version=version, flow=steps or [leg("a")])


def manager(name: str, key: Any = lambda e: e.id, version: int = 1) -> ProcessManager[Talk]:
    found = ProcessManager(name, Talk, version=version)
    found.starts_on(placed, key=key)(lambda e: Next("x", Talk()))
    return found


def event(name: str = "placed", **body: Any) -> Published:
    return Published(id="e", instance="@mailbox/x/y", event=name, key="y", body=body, keep_ms=0)


def test_a_definition_is_found_by_its_version_and_without_one_the_newest() -> None:
    """In whatever order they are deployed, and by number, not by text."""
    old, new, newest = saga(version=2), saga(version=9), saga(version=10)
    registry = Registry([newest, old, new])
    assert registry.find("talk") is newest
    assert registry.find("talk", 2) is old
    assert registry.find("talk", 3) is None
    assert registry.find("other") is None
    assert registry.find("other", 2) is None
    assert list(registry) == [newest, old, new]
    assert registry.names == ("talk",)


def test_children_come_with_their_parents() -> None:
    """Once, however many run them; also those of children."""
    deep = saga("deep")
    kid = saga("kid", 1, run(deep, lambda s: Talk(), name="deeper"))
    first = saga("first", 1, run(kid, lambda s: Talk(), name="sub"))
    second = saga("second", 1, run(kid, lambda s: Talk(), name="sub"), run(deep, lambda s: Talk(), name="too"))
    assert Registry([first, second]).names == ("deep", "first", "kid", "second")
    assert Registry([kid, first]).find("kid") is kid


def test_one_name_and_version_is_deployed_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        Registry([saga(), saga()])
    assert str(caught.value) == f"{saga()!r} is deployed twice; give one of the two another version"


def test_contracts_of_one_name_are_one_contract() -> None:
    """Two definitions that share it are right, two that mean different things by it are not."""
    assert Registry([saga("one"), saga("two")]).queues == {"q"}
    other = step(Contract("do-a", Did, Do, queue="elsewhere"), name="a")(lambda s: Did())
    with pytest.raises(DefinitionError) as caught:
        Registry([saga("one"), saga("two", 1, other)])
    assert str(caught.value) == "two different contracts are called 'do-a'; share one, or rename the other"


def test_every_queue_of_every_definition_is_known() -> None:
    elsewhere = step(Contract("do-it", Do, Did, queue="other"), name="it")(lambda s: Do())
    assert Registry([saga("one"), saga("two", 1, elsewhere)]).queues == {"q", "other"}


def test_an_instance_is_decided_by_its_own_version_or_the_newest_that_migrates_from_it() -> None:
    """One that has ended only by its own."""
    old, plain, new = saga(version=1), saga(version=2), saga(version=3)
    new.migrate(from_version=1)(lambda before: Talk())
    document = Scene.start(old, {}).document
    assert Registry([old, new]).deciding(document) is old
    assert Registry([new]).deciding(document) is new
    assert Registry([plain]).deciding(document) is None
    assert Registry([saga("other")]).deciding(document) is None
    newest = saga(version=4)
    assert Registry([new, newest]).deciding(document) is None
    ended = replace(document, status=Status.COMPLETED)
    assert Registry([new]).deciding(ended) is None
    assert Registry([old, new]).deciding(ended) is old


def test_an_event_goes_to_the_instance_of_its_key_of_every_process_manager_that_listens() -> None:
    """Of the newest versions alone."""
    registry = Registry([manager("one"), manager("two", lambda e: e.id + "!"), manager("two", lambda e: "new", 2)])
    assert registry.subscribers(event(id="7")) == (("one/7", "two/new"), "")
    assert registry.subscribers(event("other", id="7")) == ((), "")
    assert Registry([saga()]).subscribers(event(id="7")) == ((), "")


@pytest.mark.parametrize("key", ["", 7, None, ".", "a\nb", "k" * 257, "\ud800"])
def test_a_key_that_is_none_harms_no_other_process_manager(key: Any) -> None:
    found = manager("pm", lambda e: key)
    instances, wrong = Registry([found, manager("one")]).subscribers(event(id="7"))
    assert instances == ("one/7",)
    assert wrong.startswith(f"the key of 'placed' in {found!r} gave ")


def test_a_key_function_that_raises_harms_no_other_process_manager() -> None:
    found = manager("pm", lambda e: str({}[e.id]))
    assert Registry([found, manager("one")]).subscribers(event(id="7")) == (("one/7",), f"{found!r}: KeyError: '7'")


def test_a_body_that_does_not_fit_is_said() -> None:
    instances, wrong = Registry([manager("pm")]).subscribers(event(id=7))
    assert instances == ()
    assert "id" in wrong
