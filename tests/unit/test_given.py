"""Whatever an author gives to a declaration is taken, or refused with where it stands and what to give instead.

A table of values that somebody gives by mistake goes through every argument of every public constructor: each ends in a
declaration or in a ``DefinitionError``, never in an error of Python's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import Contract, DefinitionError, Event, Rejected, Retry, Saga, Step, step
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
from sagaline.sagas.process_manager import Next, ProcessManager
from sagaline.sagas.routing_slip import RoutingSlip, stop
from sagaline.workers import Worker

HOUR = timedelta(hours=1)


class Do(BaseModel):
    n: int = 0


class Did(BaseModel):
    ok: bool = True


class Notes(BaseModel):
    n: int = 0
    did: Did | None = None
    many: list[Did] = []


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ok: bool = True


class Wider(Closed):
    more: int = 0


class Narrow(BaseModel):
    did: Closed | None = None


class Part(BaseModel):
    n: int = 0


do: Contract[Do, Did] = Contract("do", Do, Did, queue="q")
undo: Contract[Do, Did] = Contract("undo", Do, Did, queue="q")
wide: Contract[Do, Wider] = Contract("wide", Do, Wider, queue="q")
paid = Event("paid", Did)


def leg(name: str = "a", **options: Any) -> Step[Notes]:
    return step(do, name=name, **options)(lambda s: Do(n=s.n))


def child() -> Saga[Part]:
    return Saga("child", Part, flow=[step(do, name="a")(lambda s: Do())])


async def later(*_: Any) -> Any:
    return None


class Later:
    async def __call__(self, s: Any) -> Any:
        return None


def needing(s: Any, *, more: int) -> Any:
    return Do(n=more)


def slip(**options: Any) -> RoutingSlip[Notes]:
    return RoutingSlip("slip", Notes, **{"stops": [stop(do)], **options})


def manager(**options: Any) -> ProcessManager[Notes]:
    return ProcessManager("pm", Notes, **options)


OPTION_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "half an attempt": (lambda: Retry(max_attempts=2.5), "Retry.max_attempts is 2.5; give a whole number, 1 or more"),  # type: ignore[arg-type]
    "an attempt that is true": (
        lambda: Retry(max_attempts=True),
        "Retry.max_attempts is True; give a whole number, 1 or more",
    ),
    "attempts as text": (lambda: Retry(max_attempts="3"), "Retry.max_attempts is '3'; give a whole number, 1 or more"),  # type: ignore[arg-type]
    "a delay in seconds": (
        lambda: Retry(first_delay=5),  # type: ignore[arg-type]
        "Retry.first_delay is 5; give a timedelta of zero or more",
    ),
    "a number for a policy": (
        lambda: leg(retry=3),
        "step of contract 'do': retry is 3; give a Retry(max_attempts=…)",
    ),
    "a no without a reason": (lambda: Rejected(None), "Rejected.reason is None; give a sentence for people"),  # type: ignore[arg-type]
    "a no by number": (lambda: Rejected(5), "Rejected.reason is 5; give a sentence for people"),  # type: ignore[arg-type]
    "a code by number": (lambda: Rejected("no", code=5), "Rejected.code is 5; give a short word for programs"),  # type: ignore[arg-type]
    "one node for a flow": (
        lambda: Saga("demo", Notes, flow=leg()),  # type: ignore[arg-type]
        "saga 'demo': flow is Step('a'); give a list of nodes",
    ),
    "no function": (lambda: step(do)(5), "what the step decorates is 5; give a function"),  # type: ignore[arg-type]
    "an async object": (
        lambda: Saga("demo", Notes, flow=[step(do, name="a")(Later())]),
        "saga 'demo', step 'a': its function is async or a generator; make it a plain, pure function",
    ),
    "an argument by name": (
        lambda: Saga("demo", Notes, flow=[step(do, name="a")(needing)]),  # type: ignore[arg-type]
        "saga 'demo', step 'a': its function needs 'more' by name; give it a default",
    ),
    "an empty field": (lambda: leg(into=""), "step of contract 'do': into is ''; give a text"),
    "one choice of many": (
        lambda: parallel(leg(), leg("b"), rest="keep"),  # type: ignore[arg-type]
        "rest of a parallel is 'keep'; give 'undo' or 'finish'",
    ),
    "no saga": (lambda: run(leg(), lambda s: Part()), "the child of a run is Step('a'); give a Saga"),  # type: ignore[arg-type]
    "a step for a definition": (
        lambda: Registry([leg()]),  # type: ignore[list-item]
        "Step('a') is not a definition; give a Saga, a ProcessManager or a RoutingSlip",
    ),
    "a base that takes no more fields": (
        lambda: Saga("demo", Narrow, flow=[step(wide, name="a", into="did")(lambda s: Do())]),
        "saga 'demo', step 'a': into='did' is declared as tests.unit.test_given.Closed | None, which does not take a "
        "Wider; declare it as `Wider | None = None`",
    ),
    "a text for read_only": (
        lambda: leg(read_only="yes"),
        "step of contract 'do': read_only is 'yes'; give True or False",
    ),
}


@pytest.mark.parametrize("what", OPTION_MISTAKES)
def test_a_value_of_the_wrong_kind_is_refused_where_it_is_given(what: str) -> None:
    declare, message = OPTION_MISTAKES[what]
    with pytest.raises(DefinitionError) as caught:
        declare()
    assert str(caught.value) == message


class NoText:
    """What has no text of its own."""

    def __repr__(self) -> str:
        return "NoText()"


WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2.5,
    math.nan,
    "",
    "text",
    "\ud800",
    b"bytes",
    [],
    [None],
    [5],
    {},
    {"a": 5},
    (),
    timedelta(0),
    timedelta(-1),
    timedelta.max,
    5,
    10**30,
    Do,
    Do(),
    later,
    Later(),
    NoText(),
    leg,
    leg("z"),
    do,
    paid,
    Retry(),
    str,
    list,
    (each for each in ()),
)
"""What somebody gives by mistake: of each kind one."""


def flow(node: Any) -> Any:
    return Saga("demo", Notes, flow=[node, leg("last")])


DECLARATIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Contract": (Contract, {"name": "x", "command": Do, "reply": Did, "queue": "q"}),
    "Event": (Event, {"name": "x", "model": Did, "keep": HOUR}),
    "Rejected": (Rejected, {"reason": "no", "code": "no"}),
    "Retry": (
        Retry,
        {"max_attempts": 3, "first_delay": HOUR, "factor": 2.0, "max_delay": HOUR, "attempt_timeout": HOUR},
    ),
    "step": (
        lambda build, **options: flow(step(**options)(build)),
        {
            "build": lambda s: Do(),
            "contract": do,
            "into": "did",
            "timeout": HOUR,
            "retry": Retry(),
            "name": "x",
            "locks": "x",
            "read_only": True,
            "expected_within": HOUR,
        },
    ),
    "undo": (
        lambda build, **options: flow(_undone(build, **options)),
        {"build": lambda s: Do(), "contract": undo, "timeout": HOUR, "retry": Retry()},
    ),
    "choose": (
        lambda case, **options: flow(choose(case, **options)),
        {"case": when(lambda s: True, leg()), "otherwise": None, "name": "x"},
    ),
    "when": (
        lambda predicate, node, **options: flow(choose(when(predicate, node, **options), otherwise=None)),
        {"predicate": lambda s: True, "node": leg("b"), "name": "x"},
    ),
    "loop": (
        lambda node, **options: flow(loop(node, **options)),
        {"node": leg("b"), "while_": lambda s: False, "rounds_max": 3, "name": "x"},
    ),
    "parallel": (
        lambda node, **options: flow(parallel(node, leg("c"), **options)),
        {"node": leg("b"), "need": "all", "rest": "undo", "undo": "reverse", "name": "x"},
    ),
    "route": (
        lambda **options: flow(route(**options)),
        {"table": "x", "by": lambda s: {}, "to": {"b": leg("b")}, "otherwise": None, "name": "x"},
    ),
    "run": (
        lambda **options: flow(run(**options)),
        {"child": child(), "input": lambda s: Part(), "into": None, "timeout": HOUR, "name": "x"},
    ),
    "each": (
        lambda **options: flow(each(**options)),
        {
            "part": child(),
            "of": lambda s: [],
            "gather": lambda s, p: s,
            "concurrency": 3,
            "tolerate": 0,
            "name": "x",
        },
    ),
    "scatter": (
        lambda build, **options: flow(scatter(**options)(build)),
        {
            "build": lambda s: Do(),
            "contract": do,
            "queues": ["q", "r"],
            "into": "many",
            "deadline": HOUR,
            "need": "all",
            "at_least": 1,
            "best": None,
            "name": "x",
        },
    ),
    "wait": (
        lambda expected, **options: flow(wait(expected, **options)),
        {
            "expected": expect(paid, key=lambda s: "k"),
            "timeout": HOUR,
            "need": "all",
            "on_timeout": "fail",
            "name": "x",
        },
    ),
    "expect": (
        lambda **options: flow(wait(expect(**options), timeout=HOUR)),
        {"event": paid, "key": lambda s: "k", "into": "did"},
    ),
    "sleep": (lambda **options: flow(sleep(**options)), {"name": "x", "duration": HOUR}),
    "emit": (
        lambda **options: flow(emit(**options)),
        {"event": paid, "build": lambda s: Did(), "key": lambda s: "k", "name": "x"},
    ),
    "ask": (
        lambda **options: flow(ask(**options)),
        {
            "name": "x",
            "form": Did,
            "question": lambda s: "?",
            "who": lambda s: ["ann"],
            "into": "did",
            "due": HOUR,
            "escalation": None,
        },
    ),
    "Escalation": (
        lambda **options: flow(
            ask(
                "x",
                Did,
                question=lambda s: "?",
                who=lambda s: ["ann"],
                into="did",
                due=HOUR * 2,
                escalation=Escalation(**options),
            )
        ),
        {"after": HOUR, "to": ["ben"]},
    ),
    "Saga": (Saga, {"name": "x", "state": Notes, "version": 1, "flow": [leg()], "retention": HOUR}),
    "migrate": (
        lambda upgrade, **options: Saga("demo", Notes, version=3, flow=[leg()]).migrate(**options)(upgrade),
        {"upgrade": lambda before: Notes(), "from_version": 1, "dropped": ()},
    ),
    "invariant": (
        lambda check: Saga("demo", Notes, flow=[leg()]).invariant(check),
        {"check": lambda s, status: True},
    ),
    "ProcessManager": (
        ProcessManager,
        {"name": "x", "state": Notes, "version": 1, "steps": [leg()], "retention": HOUR},
    ),
    "starts_on": (
        lambda handler, **options: manager().starts_on(**options)(handler),
        {"handler": lambda e: Next("x", Notes()), "event": paid, "key": lambda e: "k"},
    ),
    "on": (
        lambda handler, **options: manager().on(**options)(handler),
        {"handler": lambda s, e: Next("x"), "event": paid, "key": lambda e: "k", "when": None},
    ),
    "on_timer": (
        lambda handler, **options: manager().on_timer(**options)(handler),
        {"handler": lambda s: Next("x"), "name": "x", "when": None},
    ),
    "on_done": (
        lambda handler, step, **options: manager(steps=[step] if step is OURS else [leg()]).on_done(step, **options)(
            handler
        ),
        {"handler": lambda s: Next("x"), "step": leg("ours"), "when": None},
    ),
    "RoutingSlip": (
        RoutingSlip,
        {"name": "x", "state": Notes, "version": 1, "stops": [stop(do)], "hops": 3, "retention": HOUR},
    ),
    "stop": (
        lambda **options: slip(stops=[stop(**options)]),
        {
            "contract": do,
            "into": "did",
            "takes": None,
            "revises": None,
            "timeout": HOUR,
            "retry": Retry(),
            "name": "x",
            "read_only": True,
        },
    ),
    "stop undo": (
        lambda build, **options: stop(do).undo(**options)(build),
        {"build": lambda kept: Do(), "contract": undo, "timeout": HOUR, "retry": Retry()},
    ),
    "plan": (lambda function: slip().plan(function), {"function": lambda s: []}),
    "Worker": (
        Worker,
        {"name": "x", "concurrency": 3, "handler_timeout": HOUR, "grace": HOUR},
    ),
    "handles": (
        lambda handler, contract: Worker("x").handles(contract)(handler),
        {"handler": later, "contract": do},
    ),
}
OURS = DECLARATIONS["on_done"][1]["step"]


def _undone(build: Any, **options: Any) -> Step[Notes]:
    found = leg("x")
    found.undo(**options)(build)
    return found


def _arguments() -> Iterator[tuple[str, str]]:
    for what, (_, sound) in DECLARATIONS.items():
        yield from ((what, argument) for argument in sound)


@pytest.mark.parametrize("what", DECLARATIONS)
def test_what_is_sound_is_declared(what: str) -> None:
    declare, sound = DECLARATIONS[what]
    assert declare(**sound) is not None


@pytest.mark.parametrize(("what", "argument"), list(_arguments()))
def test_whatever_is_given_is_declared_or_refused_with_the_way_out(what: str, argument: str) -> None:
    declare, sound = DECLARATIONS[what]
    silent = []
    for value in WRONG:
        try:
            declare(**{**sound, argument: value})
        except DefinitionError as refused:
            silent += [] if "; " in str(refused) else [str(refused)]
    assert silent == [], "they do not say what to do"
