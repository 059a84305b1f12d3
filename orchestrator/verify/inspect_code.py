"""Finds in the code of the author's functions what they use, so that values are varied only where it matters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from pydantic import BaseModel

from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Ask, Child, Choose, Each, Emit, Fail, Loop, Node, Route, Scatter, Sleep, Step, Wait
from ...sagas.process_manager import ProcessManager
from ...sagas.routing_slip import RoutingSlip
from ..scenes.sample import Mentions

__all__ = ["inspect_code"]

Function = Callable[..., Any]
_DEEP = 4


def inspect_code(definitions: Iterable[AnyDefinition]) -> Mentions:
    """The fields and constants that the functions of these definitions use."""
    deciding: set[CodeType] = set()
    reading: set[CodeType] = set()
    for definition in definitions:
        for function in _deciding(definition):
            _codes(function, definition.state, deciding, _DEEP)
        for function in _reading(definition):
            _codes(function, definition.state, reading, _DEEP)
    names = frozenset(name for code in deciding for name in code.co_names)
    read = frozenset(name for code in reading for name in code.co_names)
    constants = frozenset(
        value for code in deciding for value in code.co_consts if isinstance(value, str | int | float)
    )
    return Mentions(names=names, read=read - names, constants=frozenset(c for c in constants if not _prose(c)))


def _prose(constant: str | int | float) -> bool:
    """True for a docstring or a message: values are not compared with it."""
    return isinstance(constant, bool) or (isinstance(constant, str) and (" " in constant or not constant))


def _codes(function: object, state: type[BaseModel], found: set[CodeType], deep: int) -> None:
    """Collects the code of a function and of the functions, methods and properties that it names."""
    plain = inspect.unwrap(function) if callable(function) else function
    if not isinstance(plain, FunctionType) or plain.__code__ in found or deep == 0:
        return
    inner = list(_nested(plain.__code__))
    found.update(inner)
    for name in {name for code in inner for name in code.co_names}:
        _codes(plain.__globals__.get(name), state, found, deep - 1)
        own = inspect.getattr_static(state, name, None)
        _codes(own.fget if isinstance(own, property) else own, state, found, deep - 1)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _deciding(definition: AnyDefinition) -> Iterator[Function]:
    """Functions whose results decide the path of the flow."""
    yield from definition.invariants.values()
    if isinstance(definition, RoutingSlip) and definition.planned is not None:
        yield definition.planned
    if isinstance(definition, ProcessManager):
        for subscription in definition.subscriptions.values():
            if subscription.starts is not None:
                yield subscription.starts
            yield from (handler.function for handler in subscription.handlers)
        for table in (definition.done, definition.failed, definition.timers):
            yield from (handler.function for handlers in table.values() for handler in handlers)
    for spot in definition.tree:
        match spot.node:
            case Choose() as node:
                yield from (case.predicate for case in node.cases)
            case Loop() as node:
                yield node.predicate
            case Route() as node:
                yield node.by
            case Each() as node:
                yield node.options.of
            case Sleep() as node if callable(node.duration):
                yield node.duration
            case _:
                pass


def _reading(definition: AnyDefinition) -> Iterator[Function]:
    """Functions that only build something from the state."""
    for spot in definition.tree:
        yield from _reads(spot.node)


def _reads(node: Node[Any]) -> Iterator[Function]:
    match node:
        case Step():
            yield node.build
            if node.compensation is not None:
                yield node.compensation.build
        case Scatter() if node.options.best is not None:
            yield node.options.best
        case Wait():
            yield from (expected.key for expected in node.expected)
        case Ask():
            yield node.options.question
            yield node.options.who
        case Each() if node.options.gather is not None:
            yield node.options.gather
        case Child():
            yield node.input
        case Emit():
            yield node.build
            yield node.key
        case Fail() if callable(node.reason):
            yield node.reason
        case _:
            pass
