"""Mistakes in every node, as in ``test_language_errors``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel

from sagaline.sagas import Contract, DefinitionError, Event, Node, Saga, Step, pivot, step
from sagaline.sagas.nodes import (
    Escalation,
    ask,
    choose,
    each,
    emit,
    expect,
    fail,
    loop,
    parallel,
    route,
    run,
    scatter,
    sleep,
    wait,
    when,
)
from tests.unit.test_language_errors import NAME, Did, Do, NotJson, Opaque, Other, declare, do, make

HOUR = timedelta(hours=1)


class Parts(BaseModel):
    """What flows with every kind of node know."""

    n: int = 0
    did: Did | None = None
    dids: list[Did] = []
    other: Other | None = None
    needed: list[Did]


class Paid(BaseModel):
    order: str
    cents: int = 0


paid = Event("paid", Paid)
other_paid = Event("paid", Other)
quote = Contract("quote", Do, Did, queue="q")


def saga(*flow: Node[Any]) -> Saga[Parts]:
    return Saga("demo", Parts, flow=list(flow))


def leg(name: str, into: str | None = None) -> Step[Parts]:
    return step(do, name=name, into=into)(lambda s: Do(n=s.n))


def question(name: str = "q", *, form: Any = Did, due: timedelta = HOUR, **more: Any) -> Node[Parts]:
    return ask(name, form, question=lambda s: "?", who=lambda s: ["ann"], into="did", due=due, **more)


def scattering(queues: Sequence[str] = ("a", "b"), into: str = "dids", **more: Any) -> Node[Parts]:
    more = {"deadline": HOUR, **more}
    return scatter(quote, queues=queues, into=into, name="quotes", **more)(lambda s: Do(n=s.n))


def key(s: Parts) -> str:
    return str(s.n)


def reads_did(s: Parts) -> Any:
    return s.did.ok  # type: ignore[union-attr]  # the mistake that is looked for


child = Saga("child", Other, flow=[sleep("z", HOUR)])
pivoting = Saga("pivoting", Other, flow=[pivot, sleep("z", HOUR)])


def parts_of(s: Parts) -> Sequence[Other]:
    return []


def _key_of_two_arguments() -> None:
    saga(wait(expect(paid, key=cast("Any", lambda s, t: "1")), timeout=HOUR))


NODE_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    # steps
    "expected within": (
        lambda: step(do, expected_within=timedelta(0)),
        "step of contract 'do': expected_within is 0:00:00; give a positive timedelta",
    ),
    "timeout is a number": (
        lambda: step(do, timeout=cast("Any", 30)),
        "step of contract 'do': timeout is 30; give a positive timedelta",
    ),
    "lock is no template": (
        lambda: declare(make(locks="order:{n")),
        "saga 'demo', step 'a': locks='order:{n' is not a template: expected '}' before end of string; "
        "write fields in braces, 'order:{id}'",
    ),
    "lock of an unknown field": (
        lambda: declare(make(locks="order:{order.id}")),
        "saga 'demo', step 'a': locks='order:{order.id}': Notes has no field 'order'; name one of its fields",
    ),
    # events
    "event name": (lambda: Event("Paid", Paid), f"event 'Paid': {NAME}"),
    "event is no model": (
        lambda: Event("paid", cast("Any", int)),
        "event 'paid': its body is <class 'int'>, not a pydantic model; derive it from pydantic.BaseModel",
    ),
    "event is not kept": (
        lambda: Event("paid", Paid, keep=timedelta(0)),
        "event 'paid': keep is 0:00:00; give a positive timedelta",
    ),
    "two events of one name": (
        lambda: saga(
            wait(expect(paid, key=key), timeout=HOUR), wait(expect(other_paid, key=key), timeout=HOUR, name="w")
        ),
        "saga 'demo': two different events are called 'paid'; share one, or rename the other",
    ),
    # parallel
    "one branch": (lambda: parallel(leg("a")), "a parallel has 1 branches; give it two or more, or drop it"),
    "an empty branch": (lambda: parallel(leg("a"), []), "branch 2 of a parallel is empty; put a node into it"),
    "a branch that is no node": (
        lambda: parallel(leg("a"), [cast("Any", key)]),
        "branch 2 of a parallel: key is not a node; decorate the function with @step(contract)",
    ),
    "a quorum of too many": (
        lambda: parallel(leg("a"), leg("b"), need=3),
        "a parallel of 2 branches needs 3; give 'all', 'any' or 1 to 2",
    ),
    "a quorum that is none": (
        lambda: parallel(leg("a"), leg("b"), need=cast("Any", "most")),
        "a parallel of 2 branches needs 'most'; give 'all', 'any' or 1 to 2",
    ),
    "a pivot inside": (
        lambda: saga(parallel(leg("a"), [leg("b"), pivot])),
        "saga 'demo': the pivot is inside Parallel('parallel-a'); move it to the top level of the flow",
    ),
    "one field in two branches": (
        lambda: saga(parallel(leg("a", "did"), leg("b", "did"))),
        "saga 'demo', step 'b': into='did' is filled by step 'a' already; give each its own field",
    ),
    # choose
    "no case": (lambda: choose(otherwise=None), "a choose has no case; give it when(predicate, node)"),
    "an empty case": (lambda: when(lambda s: True), "a case of a choose is empty; put a node into it"),
    "two cases of one label": (
        lambda: choose(when(lambda s: True, leg("a")), when(lambda s: False, leg("a")), otherwise=None),
        "a choose has more than one case 'a'; give each its own: when(…, name='…')",
    ),
    "a case called otherwise": (
        lambda: choose(when(lambda s: True, leg("a"), name="otherwise"), otherwise=None),
        "a choose has more than one case 'otherwise'; give each its own: when(…, name='…')",
    ),
    "an empty otherwise": (
        lambda: choose(when(lambda s: True, leg("a")), otherwise=[]),
        "otherwise of a choose is empty; put a node into it",
    ),
    "a predicate that reads too early": (
        lambda: saga(choose(when(reads_did, leg("a", "did")), otherwise=None)),
        "saga 'demo', choose 'choose-a', case 'a': it reads 'did', which only step 'a' fills and which may still be "
        "unknown then; use what is known from the start, or test `is not None` first",
    ),
    # route
    "table name": (lambda: route("Ways", by=lambda s: {}, to={"x": leg("a")}, otherwise=None), f"table 'Ways': {NAME}"),
    "branch name": (
        lambda: route("ways", by=lambda s: {}, to={"X": leg("a")}, otherwise=None),
        f"branch 'X': {NAME}",
    ),
    "no branch": (
        lambda: route("ways", by=lambda s: {}, to={}, otherwise=None),
        "route by table 'ways' has no branch; give it to={'name': node}",
    ),
    "an empty branch of a route": (
        lambda: route("ways", by=lambda s: {}, to={"x": []}, otherwise=None),
        "branch 'x' of a route is empty; put a node into it",
    ),
    "an unknown otherwise": (
        lambda: route("ways", by=lambda s: {}, to={"x": leg("a"), "y": leg("b")}, otherwise="z"),
        "route by table 'ways': otherwise='z' is not one of its branches x, y; name one",
    ),
    # each
    "no concurrency": (
        lambda: each(child, of=parts_of, concurrency=0),
        "each 'child': concurrency is 0; give a whole number, 1 to 1,000",
    ),
    "too much concurrency": (
        lambda: each(child, of=parts_of, concurrency=1_001),
        "each 'child': concurrency is 1001; give a whole number, 1 to 1,000",
    ),
    "negative tolerance": (
        lambda: each(child, of=parts_of, tolerate=-1),
        "each 'child': tolerate is -1; give a whole number, 0 or more",
    ),
    "gather of one argument": (
        lambda: saga(each(child, of=parts_of, gather=cast("Any", lambda s: s))),
        "saga 'demo', each 'child', gather: its function takes 1 arguments; it is given a Parts and a Other, "
        "let it take 2",
    ),
    "gather of another part": (
        lambda: saga(each(child, of=parts_of, gather=cast("Any", gathers_other))),
        "saga 'demo', each 'child', gather: its function reads a Did, it is given a Other; let it read that",
    ),
    "gather that gives the part": (
        lambda: saga(each(child, of=parts_of, gather=cast("Any", gathers_part))),
        "saga 'demo', each 'child', gather: its function returns Other, it gives the state, a Parts; "
        "let it return that",
    ),
    "a part with a pivot": (
        lambda: saga(each(pivoting, of=parts_of)),
        "saga 'demo', Each('pivoting') runs Saga('pivoting', version=1), which has a pivot and so cannot be undone as "
        "a unit; move it after a pivot of this flow, or remove the child's pivot",
    ),
    # scatter
    "one queue": (
        lambda: scattering(["a"]),
        "scatter of contract 'quote' goes to ['a']; give two or more queues, each once",
    ),
    "a queue twice": (
        lambda: scattering(["a", "a"]),
        "scatter of contract 'quote' goes to ['a', 'a']; give two or more queues, each once",
    ),
    "queue of a scatter": (
        lambda: scattering(["a", "B"]),
        f"queue of scatter of contract 'quote' 'B': {NAME}",
    ),
    "more answers than queues": (
        lambda: scattering(need=3),
        "scatter of contract 'quote' needs 3 of 2 and at least 1; give 1 <= at_least <= need <= 2",
    ),
    "at least more than needed": (
        lambda: scattering(need="first", at_least=2),
        "scatter of contract 'quote' needs 'first' of 2 and at least 2; give 1 <= at_least <= need <= 2",
    ),
    "no deadline": (
        lambda: scattering(deadline=timedelta(0)),
        "scatter of contract 'quote': deadline is 0:00:00; give a positive timedelta",
    ),
    "answers into one": (
        lambda: saga(scattering(into="did")),
        "saga 'demo', scatter 'quotes': into='did' is declared as tests.unit.test_language_errors.Did | None, which "
        "does not take a list of Did; declare it as `list[Did] = []`",
    ),
    "answers into what is needed": (
        lambda: saga(scattering(into="needed")),
        "saga 'demo', scatter 'quotes': into='needed' is required at the start; give the field a default, such as []",
    ),
    "answers into nowhere": (
        lambda: saga(scattering(into="nowhere")),
        "saga 'demo', scatter 'quotes': into='nowhere', but Parts has no such field; add `nowhere: list[Did] = []` "
        "to it",
    ),
    "best of two answers": (
        lambda: saga(scattering(into="did", best=lambda one, other: 1.0)),
        "saga 'demo', scatter 'quotes', best: its function takes 2 arguments; it is given a Did, let it take 1",
    ),
    # wait
    "nothing to wait for": (lambda: wait(timeout=HOUR), "a wait waits for nothing; give it expect(event, key=…)"),
    "no time to wait": (
        lambda: wait(expect(paid, key=key), timeout=timedelta(0)),
        "wait 'wait-paid': timeout is 0:00:00; give a positive timedelta",
    ),
    "a key of two arguments": (
        _key_of_two_arguments,
        "saga 'demo', wait 'wait-paid', key of 'paid': its function takes 2 arguments; it is given a Parts, "
        "let it take 1",
    ),
    "an event into another type": (
        lambda: saga(wait(expect(paid, key=key, into="did"), timeout=HOUR)),
        "saga 'demo', wait 'wait-paid': into='did' is declared as tests.unit.test_language_errors.Did | None, which "
        "does not take a Paid; declare it as `Paid | None = None`",
    ),
    # sleep
    "no time to sleep": (
        lambda: sleep("nap", timedelta(0)),
        "sleep 'nap': duration is 0:00:00; give a positive timedelta",
    ),
    "a sleep of another state": (
        lambda: saga(cast("Any", sleep("nap", of_other))),
        "saga 'demo', sleep 'nap': its function reads a Other, it is given a Parts; let it read that",
    ),
    # fail
    "no code": (lambda: fail("", reason="x"), "the code of a fail is ''; give a text"),
    "no reason": (lambda: fail("no", reason=""), "fail 'no': reason is ''; give a text"),
    "a node behind a fail": (
        lambda: saga(fail("no", reason="x"), leg("a")),
        "saga 'demo': Step('a') comes after Fail('fail-no') and can never run; "
        "remove it, or put the fail into a case of a choose",
    ),
    "a fail past the pivot": (
        lambda: saga(leg("a"), pivot, fail("no", reason="x")),
        "saga 'demo', fail 'fail-no' is after the pivot, where nothing is undone any more; move it up",
    ),
    "a reason of what may be unknown": (
        lambda: saga(choose(when(lambda s: True, leg("a", "did")), otherwise=fail("no", reason=reads_did))),
        "saga 'demo', fail 'fail-no', its reason: it reads 'did', which only step 'a' fills and which may still be "
        "unknown then; use what is known from the start, or test `is not None` first",
    ),
    # emit
    "another event's body": (
        lambda: saga(emit(paid, cast("Any", other_body), key=key)),
        "saga 'demo', emit 'emit-paid': its function returns Other, event 'paid' is a Paid; let it return that",
    ),
    "a key that reads too early": (
        lambda: saga(emit(paid, lambda s: Paid(order="1"), key=reads_did), leg("a", "did")),
        "saga 'demo', emit 'emit-paid', its key: it reads 'did', which only step 'a' fills and which may still be "
        "unknown then; use what is known from the start, or test `is not None` first",
    ),
    # run
    "no time for the child": (
        lambda: run(child, lambda s: Other(x=1), timeout=timedelta(0)),
        "run 'child': timeout is 0:00:00; give a positive timedelta",
    ),
    "a child with a pivot": (
        lambda: saga(run(pivoting, lambda s: Other(x=1))),
        "saga 'demo', Child('pivoting') runs Saga('pivoting', version=1), which has a pivot and so cannot be undone as "
        "a unit; move it after a pivot of this flow, or remove the child's pivot",
    ),
    "another child's input": (
        lambda: saga(run(child, cast("Any", paid_body))),
        "saga 'demo', run 'child': its function returns Paid, Saga('child', version=1) starts with a Other; "
        "let it return that",
    ),
    # ask
    "question name": (lambda: question("Q"), f"ask 'Q': {NAME}"),
    "a form that is not JSON": (
        lambda: question(form=Opaque),
        "ask 'q': its form Opaque cannot be written as JSON: Cannot generate a JsonSchema for "
        f"core_schema.IsInstanceSchema ({NotJson!r}); use JSON types or give the field a serializer",
    ),
    "no time to answer": (
        lambda: question(due=timedelta(0)),
        "ask 'q': due is 0:00:00; give a positive timedelta",
    ),
    "escalation at once": (
        lambda: question(escalation=Escalation(after=timedelta(0), to=["bob"])),
        "ask 'q': escalation.after is 0:00:00; give a positive timedelta",
    ),
    "escalation too late": (
        lambda: question(escalation=Escalation(after=HOUR, to=["bob"])),
        "ask 'q' escalates after 1:00:00, but it is due after 1:00:00; escalate earlier",
    ),
    "escalation to nobody": (
        lambda: question(escalation=Escalation(after=HOUR / 2, to=[])),
        "ask 'q' escalates to nobody; name a person or role in Escalation.to",
    ),
    # loop
    "an empty loop": (lambda: loop(while_=lambda s: True), "a loop is empty; put a node into it"),
    "no rounds": (
        lambda: loop(leg("a"), while_=lambda s: True, rounds_max=0),
        "rounds_max of a loop is 0; give a whole number, 1 or more",
    ),
}


def gathers_other(s: Parts, part: Did) -> Parts:
    return s


def gathers_part(s: Parts, part: Other) -> Other:
    return part


def of_other(s: Other) -> timedelta:
    return HOUR


def other_body(s: Parts) -> Other:
    return Other(x=1)


def paid_body(s: Parts) -> Paid:
    return Paid(order="1")


@pytest.mark.parametrize("mistake", NODE_MISTAKES)
def test_a_mistake_in_a_node_is_raised_at_declaration_and_says_how_to_fix_it(mistake: str) -> None:
    provoke, message = NODE_MISTAKES[mistake]
    with pytest.raises(DefinitionError) as caught:
        provoke()
    assert str(caught.value) == message
