"""Which node fills which field of the state, and whether the types fit."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

from .errors import DefinitionError
from .nodes import Ask, Child, Choose, Node, Route, Scatter, Step, Wait
from .tree import Tree

__all__ = ["check_fields", "fills"]


def fills(node: Node[Any]) -> tuple[tuple[str, type[BaseModel]], ...]:
    """The fields that a node itself fills (without the nodes inside it), each with the model it takes."""
    match node:
        case Step() if node.options.into is not None:
            return ((node.options.into, node.contract.reply),)
        case Scatter():
            return ((node.options.into, node.contract.reply),)
        case Wait():
            return tuple((each.into, each.event.model) for each in node.expected if each.into is not None)
        case Ask():
            return ((node.options.into, node.options.form),)
        case Child() if node.into is not None:
            return ((node.into, node.child.state),)
        case _:
            return ()


def check_fields(where: str, state: type[BaseModel], tree: Tree, *, twice: bool = False) -> dict[str, str]:
    """Field -> the first node that fills it, as named in messages: ``step 'reserve'``.

    ``twice``: several nodes may fill one field.

    Raises:
        DefinitionError: a field that does not exist, is required at the start, has the wrong type, or is filled twice.
    """
    filled: dict[str, str] = {}
    for spot in tree:
        node = spot.node
        for field, model in fills(node):
            many = isinstance(node, Scatter) and node.options.best is None
            at = f"{where}, {node.kind} {node.name!r}: into={field!r}"
            _check_field(at, state, field, model, many=many)
            if not twice and field in filled and not _exclusive(tree, filled[field], node.name):
                earlier = tree[filled[field]].node
                raise DefinitionError(
                    f"{at} is filled by {earlier.kind} {earlier.name!r} already; give each its own field"
                )
            filled.setdefault(field, node.name)
    return {field: f"{tree[name].node.kind} {name!r}" for field, name in filled.items()}


def _exclusive(tree: Tree, one: str, other: str) -> bool:
    """True when at most one of them runs: they are in different branches of a choice."""
    met = tree.meeting(one, other)
    return met is not None and isinstance(met[0], Choose | Route)


def _check_field(at: str, state: type[BaseModel], field: str, model: type[BaseModel], *, many: bool) -> None:
    info = state.model_fields.get(field)
    wanted = f"list[{model.__name__}] = []" if many else f"{model.__name__} | None = None"
    if info is None:
        raise DefinitionError(f"{at}, but {state.__name__} has no such field; add `{field}: {wanted}` to it")
    if info.is_required():
        default = "[]" if many else "None"
        raise DefinitionError(f"{at} is required at the start; give the field a default, such as {default}")
    if not _accepts(info.annotation, model, many=many):
        what = f"list of {model.__name__}" if many else model.__name__
        raise DefinitionError(
            f"{at} is declared as {info.annotation}, which does not take a {what}; declare it as `{wanted}`"
        )


def _accepts(annotation: Any, model: type[BaseModel], *, many: bool) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_accepts(part, model, many=many) for part in typing.get_args(annotation))
    if origin is typing.Annotated:
        return _accepts(typing.get_args(annotation)[0], model, many=many)
    if annotation is Any:
        return True
    if many:
        return origin in (list, tuple) and _accepts(typing.get_args(annotation)[0], model, many=False)
    if not isinstance(annotation, type) or not issubclass(model, annotation):
        return False
    strict = issubclass(annotation, BaseModel) and annotation.model_config.get("extra") == "forbid"
    return not strict or set(model.model_fields) == set(getattr(annotation, "model_fields", ()))
