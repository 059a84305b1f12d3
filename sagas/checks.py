"""Every mistake that is visible when a saga is declared; each message says where it is and how to mend it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel

from .contract import Contract, check_json_model, check_name
from .errors import DefinitionError
from .nodes import Node, Pivot, Step
from .reads import relied_on

__all__ = ["check_saga"]

_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def check_saga(name: str, version: int, state: type[BaseModel], flow: Sequence[Node[Any]]) -> None:
    """Raises DefinitionError for the first mistake found in what a saga is made of."""
    check_name("saga", name)
    where = f"saga {name!r}"
    check_json_model(f"{where}: its state", state)
    if version < 1:
        raise DefinitionError(f"{where}: version is {version}; versions count from 1")
    _check_flow(where, flow)
    steps = [node for node in flow if isinstance(node, Step)]
    _check_contracts(where, steps)
    into = _check_into(where, state, steps)
    _check_builders(where, state, flow, into)


def _check_flow(where: str, flow: Sequence[Node[Any]]) -> None:
    for node in flow:
        if not isinstance(node, Node):
            name = getattr(node, "__name__", repr(node))
            raise DefinitionError(
                f"{where}: {name} in its flow is not a node; decorate the function with @step(contract)"
            )
    if not any(isinstance(node, Step) for node in flow):
        raise DefinitionError(f"{where}: its flow has no step; add one made with @step(contract)")
    names = [node.name for node in flow]
    for name in names:
        if names.count(name) > 1 and name == "pivot":
            raise DefinitionError(f"{where}: there are {names.count(name)} pivots; a flow has at most one")
        if names.count(name) > 1:
            raise DefinitionError(
                f"{where}: {names.count(name)} nodes are called {name!r}; names are the identity of a running "
                f"instance, give each its own: @step(…, name='…')"
            )


def _check_contracts(where: str, steps: Sequence[Step[Any]]) -> None:
    seen: dict[str, Contract[Any, Any]] = {}
    for step in steps:
        undo = step.compensation
        for contract in (step.contract, *([undo.contract] if undo else [])):
            if seen.setdefault(contract.name, contract) != contract:
                raise DefinitionError(
                    f"{where}: two different contracts are called {contract.name!r}; share one, or rename the other"
                )


def _check_into(where: str, state: type[BaseModel], steps: Sequence[Step[Any]]) -> dict[str, str]:
    """Field -> name of the step that fills it."""
    filled: dict[str, str] = {}
    for step in steps:
        field = step.options.into
        if field is None:
            continue
        at = f"{where}, step {step.name!r}: into={field!r}"
        info = state.model_fields.get(field)
        if info is None:
            raise DefinitionError(
                f"{at}, but {state.__name__} has no such field; "
                f"add `{field}: {step.contract.reply.__name__} | None = None` to it"
            )
        if info.is_required():
            raise DefinitionError(f"{at} is required at the start; give the field a default, such as None")
        if not _accepts(info.annotation, step.contract.reply):
            raise DefinitionError(
                f"{at} is declared as {info.annotation}, which does not take a {step.contract.reply.__name__}; "
                f"declare it as `{step.contract.reply.__name__} | None = None`"
            )
        if field in filled:
            raise DefinitionError(f"{at} is filled by step {filled[field]!r} already; give each its own field")
        filled[field] = step.name
    return filled


def _accepts(annotation: Any, reply: type[BaseModel]) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_accepts(part, reply) for part in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Annotated:
        return _accepts(typing.get_args(annotation)[0], reply)
    return annotation is Any or (isinstance(annotation, type) and issubclass(reply, annotation))


def _check_builders(where: str, state: type[BaseModel], flow: Sequence[Node[Any]], into: dict[str, str]) -> None:
    known: set[str] = set()
    past_pivot = False
    for node in flow:
        past_pivot = past_pivot or isinstance(node, Pivot)
        if not isinstance(node, Step):
            continue
        at = f"{where}, step {node.name!r}"
        _check_builder(at, node.build, state, node.contract)
        _check_reads(at, node.build, into, known)
        if undo := node.compensation:
            if past_pivot:
                raise DefinitionError(f"{at} stands after the pivot and is never undone; remove its undo or the pivot")
            _check_builder(f"{at}, its undo", undo.build, state, undo.contract)
            _check_reads(f"{at}, its undo", undo.build, into, known)
        if node.options.into is not None:
            known.add(node.options.into)


def _check_builder(at: str, build: Callable[[Any], Any], state: type[BaseModel], contract: Contract[Any, Any]) -> None:
    if any(kind(build) for kind in _NOT_PLAIN):
        raise DefinitionError(f"{at}: its function is async or a generator; make it a plain, pure function")
    positional = [
        parameter
        for parameter in inspect.signature(build).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]
    if len(positional) != 1:
        raise DefinitionError(f"{at}: its function takes {len(positional)} arguments; it takes one, the state")
    try:
        hints = typing.get_type_hints(build)
    except Exception:  # names that exist only for type checkers, and whatever else an annotation may hold
        return
    expected = hints.get(positional[0].name)
    if _says(expected) and not issubclass(state, expected):
        raise DefinitionError(f"{at}: its function reads a {expected.__name__}, the saga's state is {state.__name__}")
    returns = hints.get("return")
    if _says(returns) and not issubclass(returns, contract.command):
        raise DefinitionError(
            f"{at}: its function returns {returns.__name__}, "
            f"contract {contract.name!r} sends {contract.command.__name__}"
        )


def _says(hint: Any) -> TypeGuard[type]:
    """True for a plain class; ``Any`` is one since Python 3.11 and says nothing."""
    return isinstance(hint, type) and hint is not Any


def _check_reads(at: str, build: Callable[[Any], Any], into: dict[str, str], known: set[str]) -> None:
    for field in sorted(relied_on(build)):
        if field in into and field not in known:
            raise DefinitionError(
                f"{at}: it reads {field!r}, which only the reply of step {into[field]!r} fills and which may still be "
                f"unknown then; use what is known from the start, or test `is not None` first"
            )
