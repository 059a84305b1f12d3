"""Wrong results of authors' functions in a world with an engine and workers: nothing hangs, no neighbour is harmed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sagaline.orchestrator.messages.document import Document, Status
from sagaline.sagas import Contract, Event, Rejected, Saga, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import ask, choose, each, emit, expect, loop, route, run, scatter, sleep, wait, when
from sagaline.sagas.process_manager import Next, ProcessManager
from sagaline.sagas.routing_slip import RoutingSlip, stop
from sagaline.testing import World

from .kernel_nodes import HOUR, Did, Do, Offer
from .test_results import WRONG, Lots, bid, do, part, undo

refuse: Contract[Do, Did] = Contract("refuse", Do, Did, queue="q")


class Ask(BaseModel):
    """The question of a scatter, and how its ``best`` is to go wrong."""

    what: str = ""


class Quote(BaseModel):
    """An answer to it."""

    price: int = 0
    what: str = ""


quote: Contract[Ask, Quote] = Contract("quote", Ask, Quote, queue="q")


class Note(BaseModel):
    """Which function is to go wrong, and how; ``lock`` is the name of one."""

    what: str = ""
    lock: str = "free"
    did: Did | None = None
    quote: Quote | None = None
    offers: list[Offer] = []


class Call(BaseModel):
    """The body of an event: of which instance, and what its manager's function is to give."""

    key: str
    what: str = ""


NOTED: Event[Did] = Event("noted", Did)
NEVER: Event[Did] = Event("never", Did)
PART = part()
SOUND: dict[str, Callable[..., Any]] = {
    "step": lambda s: Do(),
    "undo": lambda s: Do(),
    "choose": lambda s: True,
    "loop": lambda s: s.did is None,
    "sleep": lambda s: timedelta(seconds=1),
    "wait": lambda s: "k",
    "emit, its body": lambda s: Did(),
    "emit, its key": lambda s: "k",
    "ask, its question": lambda s: "?",
    "ask, who": lambda s: ["ann"],
    "route": lambda s: {"n": 1},
    "run": lambda s: Lots(),
    "each, its parts": lambda s: [Lots(), Lots()],
    "each, one part": lambda s: Lots(),
    "each, gather": lambda s, part: s,
    "scatter": lambda s: Do(),
    "scatter, best": lambda quote: quote.price,
    "plan": lambda s: [],
    "lock": lambda s: Do(),
    "manager, its key": lambda e: e.key,
    "manager, its start": lambda e: Next("open", Note(what=e.what), timers={"t": timedelta(seconds=1)}),
    "manager, its timer": lambda s: Next.complete(),
}
"""What each function gives in an instance that asks for nothing wrong."""

ENDS = {"undo": "compensated", "ask, its question": "compensated", "ask, who": "compensated"}
"""How such an instance ends, when it does not complete."""
LOCKS = ("empty text", "blank", "text", "control", "dots", "long")
"""The wrong results that a state can hold where the name of a lock is made of it."""


def wrongly(function: str) -> Callable[..., Any]:
    """A function that gives a wrong result in those instances alone that ask for it."""

    def give(s: Any, *more: object) -> Any:
        return WRONG[s.what]() if s.what else SOUND[function](s, *more)

    return give


def nodes_of(function: str) -> list[Any]:
    """The nodes of a saga, one of which has that function."""
    give, leg = wrongly(function), step(do, name="leg", into="did")(lambda s: Do())
    match function:
        case "step":
            return [step(do, name="asked")(give)]
        case "undo":
            first = step(do, name="first")(lambda s: Do())
            first.undo(undo)(give)
            return [first, step(refuse, name="refused")(lambda s: Do())]
        case "choose":
            return [choose(when(give, leg), otherwise=None)]
        case "loop":
            return [loop(leg, while_=give, rounds_max=2)]
        case "sleep":
            return [sleep("doze", give)]
        case "wait":
            return [wait(expect(NEVER, key=give), timeout=HOUR, on_timeout="go_on")]
        case "emit, its body":
            return [emit(NOTED, give, key=lambda s: "k")]
        case "emit, its key":
            return [emit(NOTED, lambda s: Did(), key=give)]
        case "ask, its question":
            return [ask("q", Did, question=give, who=lambda s: ["ann"], into="did", due=HOUR)]
        case "ask, who":
            return [ask("q", Did, question=lambda s: "?", who=give, into="did", due=HOUR)]
        case "route":
            return [route("t", by=give, to={"a": leg}, otherwise="a")]
        case "run":
            return [run(PART, give)]
        case "each, its parts":
            return [each(PART, of=give)]
        case "each, one part":
            return [each(PART, of=lambda s: [give(s)])]
        case "each, gather":
            return [each(PART, of=lambda s: [Lots()], gather=give)]
        case "scatter":
            return [scatter(bid, queues=["q", "r"], into="offers", deadline=HOUR, name="bids")(give)]
        case "scatter, best":
            best = scatter(quote, queues=["q", "r"], into="quote", deadline=HOUR, best=give, name="quotes")
            return [best(lambda s: Ask(what=s.what))]
        case "lock":
            return [step(do, name="held", locks="{lock}")(lambda s: Do())]
    raise AssertionError(function)


def definition_of(function: str) -> AnyDefinition:
    name = f"by-{function.replace(', its ', '-').replace(', ', '-').replace(' ', '-')}"
    if function == "plan":
        slip: RoutingSlip[Note] = RoutingSlip(name, Note, stops=[stop(do, into="did")])
        slip.plan(wrongly(function))
        return slip
    if not function.startswith("manager"):
        return Saga(name, Note, flow=[*nodes_of(function), step(do, name="last")(lambda s: Do())])
    gives = {each: wrongly(each) if each == function else SOUND[each] for each in SOUND if each.startswith("manager")}
    manager: ProcessManager[Note] = ProcessManager(name, Note)
    manager.starts_on(event_of(function), key=gives["manager, its key"])(gives["manager, its start"])
    manager.on_timer("t")(gives["manager, its timer"])
    return manager


def event_of(function: str) -> Event[Call]:
    """What a manager with that function starts on."""
    return Event(f"calls-{function.rpartition(' ')[2]}", Call)


def begin(world: World, function: str, key: str, what: str) -> str:
    """Begins an instance in which the function goes wrong so; its id."""
    definition = DEFINITIONS[function]
    if isinstance(definition, ProcessManager):
        world.publish(event_of(function), Call(key=key, what=what), key="k")
        return f"{definition.name}/{key}"
    lock = WRONG[what]() if function == "lock" and what in LOCKS else "free"
    return world.start(definition, key, Note(what=what, lock=lock))


DEFINITIONS: dict[str, AnyDefinition] = {function: definition_of(function) for function in SOUND}


def stands_still(document: Document) -> bool:
    """Nothing will wake it: not even an operator is asked."""
    return not (document.status.is_final or document.status is Status.ATTENTION or document.timers)


def _play(wrong: list[tuple[str, str]]) -> None:
    with World(*DEFINITIONS.values()) as world:
        world.answer(refuse, Rejected("no"))
        world.answer(quote, lambda asked: Quote(what=asked.what))
        neighbours, begun = {}, set()
        for number, (function, what) in enumerate(wrong):
            begun.add(begin(world, function, f"wrong-{number}", what))
            neighbours[begin(world, function, f"sound-{number}", "")] = ENDS.get(function, "completed")
        world.advance(days=1)
        assert {each: world.status(each) for each in neighbours} == neighbours
        assert [each.id for each in world.documents().values() if stands_still(each)] == []
        if not any(function == "manager, its key" for function, _ in wrong):
            assert begun <= set(world.documents()), "nothing that was accepted is gone"
            assert world.broker.snapshot()[world.topics.dead] == [[], []]


MOST_WRONG = ("None", "coroutine", "unlike anything", "half a surrogate pair", "control", "long")
PAIRS = st.tuples(st.sampled_from(sorted(SOUND)), st.sampled_from(sorted(WRONG)))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=6))
def test_in_a_world_nothing_hangs_and_no_neighbour_is_harmed(wrong: list[tuple[str, str]]) -> None:
    """G4: every instance ends, stands in attention or has its next wake-up. G6: those beside it end as always."""
    _play(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("function", SOUND)
def test_each_function_goes_wrong_beside_a_neighbour(function: str) -> None:
    _play([(function, what) for what in MOST_WRONG])
