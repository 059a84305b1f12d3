"""Every mistake that can be seen at declaration is raised there, with where it is and how to fix it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import Contract, DefinitionError, Retry, Saga, Step, pivot, step


class Do(BaseModel):
    n: int


class Did(BaseModel):
    ok: bool


class Other(BaseModel):
    x: int


class Notes(BaseModel):
    n: int
    a: Did | None = None
    b: Did | None = None
    needed: Did
    number: int = 0
    noted: Annotated[Did, "a remark"] | None = None
    anything: Any = None


class NotJson:
    pass


class Left(BaseModel):
    n: int = Field(default=0, exclude=True)


class Opaque(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    thing: NotJson


do = Contract("do", Do, Did, queue="q")
undo = Contract("undo", Do, Did, queue="q")
NAME = "a name is 1 to 64 of a-z, 0-9, '-' and '_' and begins with a letter; choose such a name"


def make(name: str = "a", **options: Any) -> Step[Notes]:
    @step(do, name=name, **options)
    def build(s: Notes) -> Do:
        return Do(n=s.n)

    return build


def declare(*flow: Any, **options: Any) -> Saga[Notes]:
    return Saga("demo", Notes, flow=list(flow), **options)


def _registry(*sagas: Any) -> Registry:
    return Registry(sagas)


def _untyped(function: Callable[..., Any]) -> Any:
    """A step of what only an untyped project could write."""
    return step(do)(function)


def _with_undo(declared: Step[Notes], function: Callable[[Any], Any]) -> Step[Notes]:
    declared.undo(undo)(function)
    return declared


def _undo_twice() -> None:
    declared = _with_undo(make(), lambda s: Do(n=1))
    declared.undo(undo)


def _undo_twice_at_once() -> None:
    declared = make()
    first, second = declared.undo(undo), declared.undo(undo)
    first(lambda s: Do(n=1))
    second(lambda s: Do(n=1))


def _undo_too_late() -> None:
    declared = make()
    declare(declared)
    declared.undo(undo)


def _not_a_node() -> None:
    def plain(s: Notes) -> Do:
        return Do(n=1)

    declare(plain)


def _async_function() -> None:
    async def build(s: Any) -> Any:
        return Do(n=1)

    declare(_untyped(build))


def _async_generator() -> None:
    async def build(s: Any) -> Any:
        yield Do(n=1)

    declare(_untyped(build))


def _two_arguments() -> None:
    def build(s: Any, t: Any) -> Any:
        return Do(n=1)

    declare(_untyped(build))


def _wrong_state() -> None:
    @step(do)
    def build(s: Other) -> Do:
        return Do(n=1)

    declare(build)


def _wrong_command() -> None:
    declare(_untyped(wrong_command))


def _reads_too_early() -> None:
    @step(do, name="x")
    def early(s: Notes) -> Do:
        return Do(n=int(s.a.ok))  # type: ignore[union-attr]  # the mistake that is looked for

    declare(early, make("y", into="a"))


def _undo_reads_own_reply() -> None:
    def build(s: Notes) -> Do:
        return Do(n=int(s.a.ok))  # type: ignore[union-attr]  # the mistake that is looked for

    declare(_with_undo(make(into="a"), build))


def _two_contracts_of_one_name() -> None:
    @step(Contract("do", Do, Did, queue="elsewhere"), name="b")
    def build(s: Notes) -> Do:
        return Do(n=1)

    declare(make(), build)


def _two_contracts_in_two_sagas() -> None:
    @step(Contract("do", Do, Did, queue="elsewhere"), name="b")
    def build(s: Notes) -> Do:
        return Do(n=1)

    _registry(declare(make()), Saga("other", Notes, flow=[build]))


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "contract name": (lambda: Contract("Do It", Do, Did, queue="q"), f"contract 'Do It': {NAME}"),
    "a lane of a queue without lanes": (
        lambda: Contract("mail", Do, Did, queue="q").at("high"),
        "contract 'mail' has no priority, so its queue has no lanes; declare it with Contract(…, queue='q', "
        "priority='normal')",
    ),
    "contract name too long": (lambda: Contract("d" * 65, Do, Did, queue="q"), f"contract '{'d' * 65}': {NAME}"),
    "queue name": (lambda: Contract("do", Do, Did, queue="q.r"), f"queue of contract 'do' 'q.r': {NAME}"),
    "command is no model": (
        lambda: Contract("do", int, Did, queue="q"),  # type: ignore[type-var]  # the mistake that is looked for
        "command of contract 'do' is <class 'int'>, not a pydantic model; derive it from pydantic.BaseModel",
    ),
    "reply is not JSON": (
        lambda: Contract("do", Do, Opaque, queue="q"),
        "reply of contract 'do' Opaque cannot be written as JSON: Cannot generate a JsonSchema for "
        "core_schema.IsInstanceSchema (<class 'tests.unit.test_language_errors.NotJson'>); "
        "use JSON types or give the field a serializer",
    ),
    "state is not JSON": (
        lambda: Saga("demo", Opaque, flow=[]),
        "saga 'demo': its state Opaque cannot be written as JSON: Cannot generate a JsonSchema for "
        "core_schema.IsInstanceSchema (<class 'tests.unit.test_language_errors.NotJson'>); "
        "use JSON types or give the field a serializer",
    ),
    "command does not read back": (
        lambda: Contract("do", Left, Did, queue="q"),
        "command of contract 'do' Left cannot be written as JSON and read back: Left: field 'n' is excluded "
        "from the JSON (exclude); include it, or make it a private attribute",
    ),
    "saga name": (lambda: Saga("Demo", Notes, flow=[make()]), f"saga 'Demo': {NAME}"),
    "version": (lambda: declare(make(), version=0), "saga 'demo': version is 0; give a whole number, 1 or more"),
    "retention": (
        lambda: declare(make(), retention=timedelta(0)),
        "saga 'demo': retention is 0:00:00; give a positive timedelta or a Retention",
    ),
    "empty flow": (lambda: declare(), "saga 'demo': its flow has no step; add one made with @step(contract)"),
    "only a pivot": (lambda: declare(pivot), "saga 'demo': its flow has no step; add one made with @step(contract)"),
    "not a node": (
        _not_a_node,
        "saga 'demo': plain in its flow is not a node; decorate the function with @step(contract)",
    ),
    "two pivots": (
        lambda: declare(make(), pivot, pivot),
        "saga 'demo': there are two pivots; a flow has at most one",
    ),
    "two steps of one name": (
        lambda: declare(make(), make()),
        "saga 'demo': two nodes are called 'a'; names are the identity of a running instance, "
        "give each its own: name='…'",
    ),
    "two contracts of one name": (
        _two_contracts_of_one_name,
        "saga 'demo': two different contracts are called 'do'; share one, or rename the other",
    ),
    "two contracts of one name in two sagas": (
        _two_contracts_in_two_sagas,
        "two different contracts are called 'do'; share one, or rename the other",
    ),
    "a saga deployed twice": (
        lambda: _registry(declare(make()), declare(make())),
        "Saga('demo', version=1) is deployed twice; give one of the two another version",
    ),
    "step name": (lambda: make("A"), f"step 'A': {NAME}"),
    "reserved step name": (
        lambda: make("undo"),
        "step 'undo': the name is reserved in ids and histories; choose another",
    ),
    "lambda without a name": (
        lambda: step(do)(lambda s: Do(n=1)),
        "a lambda has no name of its own; give the step one: step(…, name='…')",
    ),
    "step timeout": (
        lambda: step(do, timeout=timedelta(0)),
        "step of contract 'do': timeout is 0:00:00; give a positive timedelta",
    ),
    "undo timeout": (
        lambda: make().undo(undo, timeout=-timedelta(seconds=1)),
        "undo of step 'a': timeout is -1 day, 23:59:59; give a positive timedelta",
    ),
    "two undos": (_undo_twice, "step 'a' already has an undo; remove one of the two"),
    "two undos at once": (_undo_twice_at_once, "step 'a' already has an undo; remove one of the two"),
    "undo after the saga": (
        _undo_too_late,
        "step 'a' is already part of 'demo'; declare its undo before that definition",
    ),
    "undo past the pivot": (
        lambda: declare(pivot, _with_undo(make(), lambda s: Do(n=1))),
        "saga 'demo', step 'a' is after the pivot and is never undone; remove its undo or the pivot",
    ),
    "into unknown": (
        lambda: declare(make(into="nowhere")),
        "saga 'demo', step 'a': into='nowhere', but Notes has no such field; add `nowhere: Did | None = None` to it",
    ),
    "into required": (
        lambda: declare(make(into="needed")),
        "saga 'demo', step 'a': into='needed' is required at the start; give the field a default, such as None",
    ),
    "into of another type": (
        lambda: declare(make(into="number")),
        "saga 'demo', step 'a': into='number' is declared as <class 'int'>, which does not take a Did; "
        "declare it as `Did | None = None`",
    ),
    "into twice": (
        lambda: declare(make(into="a"), make("b", into="a")),
        "saga 'demo', step 'b': into='a' is filled by step 'a' already; give each its own field",
    ),
    "async function": (
        _async_function,
        "saga 'demo', step 'build': its function is async or a generator; make it a plain, pure function",
    ),
    "async generator": (
        _async_generator,
        "saga 'demo', step 'build': its function is async or a generator; make it a plain, pure function",
    ),
    "two arguments": (
        _two_arguments,
        "saga 'demo', step 'build': its function takes 2 arguments; it is given a Notes, let it take 1",
    ),
    "another state": (
        _wrong_state,
        "saga 'demo', step 'build': its function reads a Other, it is given a Notes; let it read that",
    ),
    "another command": (
        _wrong_command,
        "saga 'demo', step 'wrong_command': its function returns Other, contract 'do' sends Do; let it return that",
    ),
    "undo of another command": (
        lambda: declare(_with_undo(make(), wrong_command)),
        "saga 'demo', step 'a', its undo: its function returns Other, contract 'undo' sends Do; let it return that",
    ),
    "reads what is not yet known": (
        _reads_too_early,
        "saga 'demo', step 'x': it reads 'a', which only step 'y' fills and which may still be unknown then; "
        "use what is known from the start, or test `is not None` first",
    ),
    "undo reads its own step's reply": (
        _undo_reads_own_reply,
        "saga 'demo', step 'a', its undo: it reads 'a', which only step 'a' fills and which may still be unknown "
        "then; use what is known from the start, or test `is not None` first",
    ),
    "no attempts": (lambda: Retry(max_attempts=0), "Retry.max_attempts is 0; give a whole number, 1 or more"),
    "shrinking delays": (lambda: Retry(factor=0.5), "Retry.factor is 0.5; give 1.0 (equal delays) or more"),
    "delays without end": (
        lambda: Retry(factor=float("inf")),
        "Retry.factor is inf; give 1.0 (equal delays) or more",
    ),
    "delays out of order": (
        lambda: Retry(first_delay=timedelta(minutes=2)),
        "Retry needs 0 <= first_delay <= max_delay; change one of the two delays",
    ),
    "attempt timeout": (
        lambda: Retry(attempt_timeout=timedelta(0)),
        "Retry.attempt_timeout is 0:00:00; give a positive timedelta",
    ),
}


def wrong_command(s: Notes) -> Other:
    return Other(x=1)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_raised_at_declaration_and_says_how_to_fix_it(mistake: str) -> None:
    provoke, message = MISTAKES[mistake]
    with pytest.raises(DefinitionError) as caught:
        provoke()
    assert str(caught.value) == message


@pytest.mark.parametrize("field", ["a", "noted", "anything"])
def test_into_takes_unions_remarks_and_any(field: str) -> None:
    """Annotated and Any are as good as the plain type."""
    assert declare(make(into=field)).steps["a"].options.into == field


def test_a_saga_knows_its_steps_contracts_and_queues() -> None:
    """Undos included, each contract once, in order of first use."""
    saga = declare(_with_undo(make(), lambda s: Do(n=1)), make("b"))
    assert list(saga.steps) == ["a", "b"]
    assert saga.contracts == (do, undo)
    assert saga.queues == {"q"}
    assert repr(saga) == "Saga('demo', version=1)"


def test_any_in_an_annotation_says_nothing() -> None:
    def build(s: Any) -> Any:
        return Do(n=1)

    assert declare(_untyped(build)).steps


def test_annotations_that_only_a_type_checker_knows_are_no_mistake() -> None:
    """Imports under TYPE_CHECKING are common; what cannot be resolved is not judged."""

    def build(s: Any) -> Any:
        return Do(n=1)

    build.__annotations__ = {"s": "nowhere.Notes", "return": "1 +"}
    assert declare(_untyped(build)).steps


def test_a_registry_finds_the_newest_or_the_asked_version() -> None:
    one, two = declare(make()), declare(make(), version=2)
    registry = _registry(two, one)
    assert registry.find("demo") is two
    assert registry.find("demo", 1) is one
    assert registry.find("demo", 3) is None
    assert registry.find("other") is None
    assert registry.names == ("demo",)
    assert registry.queues == {"q"}


@pytest.mark.parametrize(
    ("retry", "delays"),
    [
        (Retry(), [1_000, 2_000, 4_000, 8_000]),
        (Retry(factor=1.0), [1_000] * 4),
        (Retry(max_delay=timedelta(seconds=3)), [1_000, 2_000, 3_000, 3_000]),
        (Retry(first_delay=timedelta(0), factor=1e300), [0, 0, 0, 0]),
        (Retry(factor=1e300), [1_000, 60_000, 60_000, 60_000]),
    ],
)
def test_delays_grow_up_to_the_longest(retry: Retry, delays: list[int]) -> None:
    """Also with factors whose powers no float can hold."""
    assert [retry.delay_ms(failed) for failed in range(1, 5)] == delays
