"""The base of all nodes: a name, and the branches of nodes that contain others.

A node is a typed value, contravariant in the state: a node written for a base model fits every saga whose state derives
from that model. Nodes hold the author's pure functions and options; they never run anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from ..contract import check_name
from ..errors import DefinitionError
from ..given import check_call, check_list, check_text

__all__ = ["Branch", "Node", "Nodes", "check_into", "check_saga", "name_of", "node_name", "nodes_of"]

S = TypeVar("S", bound=BaseModel)
S_contra = TypeVar("S_contra", bound=BaseModel, contravariant=True)

_RESERVED: Final = frozenset({"instance", "paused", "pivot", "undo"})


class Node(Generic[S_contra]):
    """An element of a saga's ``flow``."""

    name: str

    @property
    def kind(self) -> str:
        """Its word in the language, in documents and in messages."""
        return type(self).__name__.lower()

    @property
    def about(self) -> str:
        """What it runs or waits for, by name, stored while it is under way: code in which the node is about something
        else does not match that record. Empty: the node stores no such name.
        """
        return ""

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        """The flows inside it, each with its label in histories; most nodes have none."""
        return ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


@dataclass(frozen=True, kw_only=True)
class Branch(Generic[S_contra]):
    """A flow inside a node."""

    label: str
    nodes: tuple[Node[S_contra], ...]


Nodes: TypeAlias = Node[S] | Sequence[Node[S]]
"""One node, or several in sequence."""


def nodes_of(where: str, nodes: Node[S] | Sequence[Node[S]]) -> tuple[Node[S], ...]:
    """The nodes as a tuple.

    Raises:
        DefinitionError: it is empty, or something in it is not a node.
    """
    if not isinstance(nodes, Node):
        check_list(where, nodes, "nodes")
    found = (nodes,) if isinstance(nodes, Node) else tuple(nodes)
    if not found:
        raise DefinitionError(f"{where} is empty; put a node into it")
    for node in found:
        if not isinstance(node, Node):
            name = getattr(node, "__name__", repr(node))
            raise DefinitionError(f"{where}: {name} is not a node; decorate the function with @step(contract)")
    return found


def node_name(kind: str, name: str) -> str:
    """The name, if it is valid for a node.

    Raises:
        DefinitionError: an invalid or reserved name.
    """
    check_name(kind, name)
    if name in _RESERVED:
        raise DefinitionError(f"{kind} {name!r}: the name is reserved in ids and histories; choose another")
    return name


def name_of(kind: str, function: object, name: str | None) -> str:
    """The given name, or the function's own.

    Raises:
        DefinitionError: there is no name, or an invalid one.
    """
    check_call(f"what the {kind} decorates", function)
    found = name if name is not None else getattr(function, "__name__", "")
    if found == "<lambda>":
        raise DefinitionError(f"a lambda has no name of its own; give the {kind} one: {kind}(…, name='…')")
    return node_name(kind, found)


def check_into(where: str, into: object) -> None:
    """Raises DefinitionError unless it is a field name or None."""
    if into is not None:
        check_text(f"{where}: into", into)


def check_saga(what: str, child: object) -> None:
    """Raises DefinitionError unless it is a saga: only a saga can be run and undone as a unit."""
    if not hasattr(child, "has_pivot"):  # importing Saga here would be circular
        raise DefinitionError(f"{what} is {child!r}; give a Saga")
