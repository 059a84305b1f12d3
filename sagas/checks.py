"""Checks of a saga at its declaration; each message says where the mistake is and how to fix it."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from .contract import Contract, check_name
from .errors import DefinitionError
from .event import Event
from .fields import check_fields, fills
from .functions import check_function, check_reads
from .given import check_count
from .nodes import (
    Ask,
    Child,
    Choose,
    Each,
    Emit,
    Fail,
    Loop,
    Node,
    Parallel,
    Pivot,
    Route,
    Scatter,
    Sleep,
    Step,
    Wait,
)
from .schemas import check_json_model
from .searchable import attributes_of
from .tree import Tree

__all__ = ["check_declarations", "check_header", "check_saga"]


def check_header(what: str, name: str, version: int, state: type[BaseModel]) -> str:
    """Checks what all definitions share; returns the definition's name for messages."""
    check_name(what, name)
    where = f"{what} {name!r}"
    check_json_model(f"{where}: its state", state, enters=True)
    attributes_of(where, state)
    check_count(f"{where}: version", version, 1)
    return where


def check_saga(name: str, version: int, state: type[BaseModel], flow: Sequence[Node[Any]]) -> Tree:
    """Checks a saga; returns the place of each node.

    Raises:
        DefinitionError: the first mistake found.
    """
    where = check_header("saga", name, version, state)
    for node in flow:
        if not isinstance(node, Node):
            called = getattr(node, "__name__", repr(node))
            raise DefinitionError(
                f"{where}: {called} in its flow is not a node; decorate the function with @step(contract)"
            )
    if all(isinstance(node, Pivot) for node in flow):
        raise DefinitionError(f"{where}: its flow has no step; add one made with @step(contract)")
    tree = Tree(where, flow)
    for spot in tree:
        if isinstance(spot.node, Pivot) and spot.path:
            raise DefinitionError(
                f"{where}: the pivot is inside {spot.path[-1][0]!r}; move it to the top level of the flow"
            )
        _check_past_pivot(where, spot.node, past=spot.past_pivot)
    check_declarations(where, [spot.node for spot in tree])
    into = check_fields(where, state, tree)
    _Functions(where, state, into).walk(flow, frozenset())
    return tree


def _check_past_pivot(where: str, node: Node[Any], *, past: bool) -> None:
    if past and isinstance(node, Fail):
        raise DefinitionError(
            f"{where}, fail {node.name!r} is after the pivot, where nothing is undone any more; move it up"
        )
    if past and isinstance(node, Step) and node.compensation is not None:
        raise DefinitionError(
            f"{where}, step {node.name!r} is after the pivot and is never undone; remove its undo or the pivot"
        )
    child = node.child if isinstance(node, Child) else node.part if isinstance(node, Each) else None
    if child is not None and not past and child.has_pivot:
        raise DefinitionError(
            f"{where}, {node!r} runs {child!r}, which has a pivot and so cannot be undone as a unit; "
            "move it after a pivot of this flow, or remove the child's pivot"
        )


def check_declarations(where: str, nodes: Sequence[Node[Any]]) -> None:
    """Raises DefinitionError when two different contracts, or two different events, share a name."""
    contracts: dict[str, Contract[Any, Any]] = {}
    events: dict[str, Event[Any]] = {}
    for node in nodes:
        for contract in _contracts_of(node):
            if contracts.setdefault(contract.name, contract) != contract:
                raise DefinitionError(
                    f"{where}: two different contracts are called {contract.name!r}; share one, or rename the other"
                )
        for event in _events_of(node):
            if events.setdefault(event.name, event) != event:
                raise DefinitionError(
                    f"{where}: two different events are called {event.name!r}; share one, or rename the other"
                )


def _contracts_of(node: Node[Any]) -> tuple[Contract[Any, Any], ...]:
    if isinstance(node, Step):
        undo = node.compensation
        return (node.declared, undo.contract) if undo else (node.declared,)
    return ()


def _events_of(node: Node[Any]) -> tuple[Event[Any], ...]:
    if isinstance(node, Emit):
        return (node.event,)
    return tuple(each.event for each in node.expected) if isinstance(node, Wait) else ()


class _Functions:
    """Walks a flow in the order in which it runs, and tracks which fields are certainly filled at each node."""

    def __init__(self, where: str, state: type[BaseModel], into: Mapping[str, str]) -> None:
        self._where, self._state, self._into = where, state, into

    def walk(self, nodes: Sequence[Node[Any]], known: frozenset[str]) -> frozenset[str]:
        for number, node in enumerate(nodes):
            if isinstance(node, Fail) and (behind := nodes[number + 1 :]):
                raise DefinitionError(
                    f"{self._where}: {behind[0]!r} comes after {node!r} and can never run; "
                    "remove it, or put the fail into a case of a choose"
                )
            self._check(node, known)
            inside = [self.walk(branch.nodes, known) for branch in node.branches]
            known |= self._after(node, known, inside)
        return known

    def _after(self, node: Node[Any], known: frozenset[str], inside: list[frozenset[str]]) -> frozenset[str]:
        """The fields that are certainly filled when the node is done."""
        own = frozenset(field for field, _ in fills(node))
        match node:
            case Parallel() if node.options.need == len(inside):
                return frozenset().union(*inside)
            case Choose() if node.otherwise:
                return frozenset.intersection(*inside)
            case Route() if node.otherwise is not None:
                return frozenset.intersection(*inside)
            case Fail():  # nothing runs after it, so every field counts as filled
                return frozenset(self._into)
            case Wait():
                certain = node.options.on_timeout == "fail" and (node.options.need == "all" or len(node.expected) == 1)
                return own if certain else frozenset()
            case _:
                return own

    def _check(self, node: Node[Any], known: frozenset[str]) -> None:
        at = f"{self._where}, {node.kind} {node.name!r}"
        match node:
            case Step():
                self._step(at, node, known)
            case Scatter():  # each of its legs is a step
                if node.options.best is not None:
                    check_function(f"{at}, best", node.options.best, (node.contract.reply,))
            case Choose():
                for case in node.cases:
                    self._function(f"{at}, case {case.label!r}", case.predicate, known)
            case Loop():
                self._function(at, node.predicate, known)
            case Sleep() if callable(node.duration):
                self._function(at, node.duration, known)
            case Emit():
                self._function(at, node.build, known, node.event.model, for_=f"event {node.event.name!r} is a")
                self._function(f"{at}, its key", node.key, known)
            case Fail() if callable(node.reason):
                self._function(f"{at}, its reason", node.reason, known)
            case Wait():
                for expected in node.expected:
                    self._function(f"{at}, key of {expected.event.name!r}", expected.key, known)
            case Ask():
                self._function(f"{at}, its question", node.options.question, known)
                self._function(f"{at}, who", node.options.who, known)
            case Child():
                self._function(at, node.input, known, node.child.state, for_=f"{node.child!r} starts with a")
            case Each():
                self._function(at, node.options.of, known)
                if node.options.gather is not None:
                    takes = (self._state, node.part.state)
                    for_ = "it gives the state, a"
                    check_function(f"{at}, gather", node.options.gather, takes, self._state, for_=for_)
            case Route():
                self._function(at, node.by, known)
            case _:
                pass

    def _step(self, at: str, node: Step[Any], known: frozenset[str]) -> None:
        sends = f"contract {node.contract.name!r} sends"
        self._function(at, node.build, known, node.contract.command, for_=sends)
        if undo := node.compensation:
            sends = f"contract {undo.contract.name!r} sends"
            self._function(f"{at}, its undo", undo.build, known, undo.contract.command, for_=sends)
        if node.options.locks is not None:
            _check_template(f"{at}: locks={node.options.locks!r}", node.options.locks, self._state)

    def _function(
        self,
        at: str,
        function: Callable[..., Any],
        known: frozenset[str],
        gives: type[BaseModel] | None = None,
        *,
        for_: str = "",
    ) -> None:
        check_function(at, function, (self._state,), gives, for_=for_)
        check_reads(at, function, self._into, known)


def _check_template(at: str, template: str, state: type[BaseModel]) -> None:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise DefinitionError(f"{at} is not a template: {error}; write fields in braces, 'order:{{id}}'") from error
    for field in fields:
        root = field.partition(".")[0].partition("[")[0]
        if root not in state.model_fields:
            raise DefinitionError(f"{at}: {state.__name__} has no field {root!r}; name one of its fields")
