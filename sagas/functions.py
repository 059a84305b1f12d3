"""Checks of the author's functions: plain synchronous functions with the right arguments and results."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from pydantic import BaseModel

from .errors import DefinitionError
from .given import check_call
from .reads import relied_on

__all__ = ["check_function", "check_reads"]

_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def check_function(
    at: str,
    function: Callable[..., Any],
    takes: tuple[type, ...],
    gives: type[BaseModel] | None = None,
    *,
    for_: str = "",
) -> None:
    """Raises DefinitionError unless a function takes these models and, if annotated, returns that one.

    Args:
        at: where it is declared, for the message.
        function: the author's.
        takes: the state first.
        gives: the model it must return; None: the result is not checked.
        for_: who needs the result, such as ``contract 'x' sends``.
    """
    check_call(f"{at}: its function", function)
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if any(kind(function) or kind(call) for kind in _NOT_PLAIN):
        raise DefinitionError(f"{at}: its function is async or a generator; make it a plain, pure function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return
    parameters = list(signature.parameters.values())
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise DefinitionError(f"{at}: its function needs {parameter.name!r} by name; give it a default")
    try:
        signature.bind(*takes)
    except TypeError:
        given = " and ".join(f"a {model.__name__}" for model in takes)
        wanted = sum(each.default is each.empty and each.kind is not each.VAR_POSITIONAL for each in parameters)
        raise DefinitionError(
            f"{at}: its function takes {wanted} arguments; it is given {given}, let it take {len(takes)}"
        ) from None
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # annotations may name types that exist only for type checkers, or be anything else
        return
    for parameter, model in zip(parameters, takes, strict=False):
        expected_type = hints.get(parameter.name)
        if _says(expected_type) and not issubclass(model, expected_type):
            raise DefinitionError(
                f"{at}: its function reads a {expected_type.__name__}, it is given a {model.__name__}; let it read that"
            )
    returns = hints.get("return")
    if gives is not None and _says(returns) and not issubclass(returns, gives):
        raise DefinitionError(
            f"{at}: its function returns {returns.__name__}, {for_} {gives.__name__}; let it return that"
        )


def _says(hint: Any) -> TypeGuard[type]:
    """True for a plain class; not for ``Any``, which is a class since Python 3.11."""
    return isinstance(hint, type) and hint is not Any


def check_reads(at: str, function: Callable[..., Any], into: Mapping[str, str], known: frozenset[str]) -> None:
    """Raises DefinitionError where a function relies on a field that may not be filled yet.

    Args:
        at: where it is declared, for the message.
        function: the author's.
        into: field -> the node that fills it, as messages call it.
        known: fields that are filled for certain.
    """
    for field in sorted(relied_on(function)):
        if field in into and field not in known:
            raise DefinitionError(
                f"{at}: it reads {field!r}, which only {into[field]} fills and which may still be unknown then; "
                f"use what is known from the start, or test `is not None` first"
            )
