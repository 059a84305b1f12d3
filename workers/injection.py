"""What a handler or a dependency asks for, read from its signature at declaration. Nothing is called here.

- A handler's first parameter is the body, a second one without more said is the delivery.
- A parameter annotated with a class of ``Delivery`` gets the delivery; in a dependency, one annotated with the model of
  the body gets the body.
- ``Annotated[T, Depends(function)]``, or ``= Depends(function)``, gets what the function returns or yields.
- Any other parameter needs a default and keeps it.

Why this is ours and not fast-depends: docs/decisions/0019.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Annotated, Any, Final

from pydantic import BaseModel

from ..sagas import DefinitionError
from ..sagas.given import check_call
from .delivery import Delivery

__all__ = ["Callee", "Dependency", "Depends", "Given", "Kind", "Needed", "callee_of", "classes", "hints_of", "named"]


@dataclass(frozen=True, slots=True)
class Dependency:
    """What ``Depends`` has declared."""

    function: Callable[..., object]
    use_cache: bool


def Depends(dependency: Callable[..., object], *, use_cache: bool = True) -> Any:
    """Declares that a parameter gets what ``dependency`` returns or yields, as in FastAPI.

    It is called for each delivery, inside the middlewares. What follows a ``yield`` runs when the handler has ended,
    also when it failed or was cancelled. A function that is not async runs in a thread. It may have dependencies of its
    own, and ask for the delivery (a parameter annotated ``Context``, ``Message`` or ``Delivery``) and for the body (a
    parameter annotated with its model). What it raises counts as raised by the handler.

    Args:
        dependency: a function, or anything that can be called.
        use_cache: once per delivery, however many ask for it; False: once for each that asks.

    Raises:
        DefinitionError: it cannot be called.
    """
    check_call("Depends: dependency", dependency)
    if not isinstance(dependency, Hashable):
        raise DefinitionError(f"Depends({dependency!r}): it has no hash; give a function, or its class a __hash__")
    return Dependency(dependency, use_cache)


class Given(Enum):
    """What every delivery has."""

    BODY = auto()
    DELIVERY = auto()


class Kind(Enum):
    """How a function is called."""

    ASYNC = auto()
    SYNC = auto()
    ASYNC_GENERATOR = auto()
    GENERATOR = auto()


@dataclass(frozen=True, slots=True)
class Needed:
    """A dependency and how it is called."""

    function: Callable[..., object]
    use_cache: bool
    callee: Callee


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """A function, and where each of its arguments comes from."""

    function: Callable[..., Any]
    kind: Kind
    positional: tuple[Given | Needed, ...]
    named: tuple[tuple[str, Given | Needed], ...]
    is_plain: bool
    """It takes the body, and perhaps the delivery after it, and nothing else."""


def callee_of(
    at: str,
    function: Callable[..., object],
    body: type,
    delivery: type[Delivery],
    *,
    handler: bool = True,
    within: tuple[object, ...] = (),
) -> Callee:
    """How a handler, or a dependency, is called.

    Args:
        at: who declares it, for messages.
        body: what messages are read as.
        delivery: ``Context`` or ``Message``.
        handler: False: a dependency.
        within: the functions that depend on it.

    Raises:
        DefinitionError: a parameter that nothing fills, or one annotated with something else than it gets; a handler
            that is a generator; a dependency that depends on itself.
    """
    at = f"{at}: {getattr(function, '__qualname__', repr(function))}"
    if function in within:
        raise DefinitionError(f"{at} depends on itself; break the circle")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{at} cannot be called: {error}; give a function") from error
    kind = _kind(function)
    if handler and kind in (Kind.GENERATOR, Kind.ASYNC_GENERATOR):
        raise DefinitionError(f"{at} yields; a handler returns. Only dependencies may be generators")
    hints, asking = hints_of(function), _Asking(at, body, delivery, (*within, function))
    positional: list[Given | Needed] = []
    by_name: list[tuple[str, Given | Needed]] = []
    skipped = False
    for place, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL and handler and not skipped:
            positional += [Given.BODY, Given.DELIVERY][len(positional) :]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        source = asking.source(parameter, hints[parameter.name], place if handler else None)
        skipped = skipped or source is None or parameter.kind is parameter.KEYWORD_ONLY
        if source is not None and not skipped:
            positional.append(source)
        elif source is not None:
            by_name.append((parameter.name, source))
    if handler and not positional:
        raise DefinitionError(f"{at} takes no message; let its first parameter be the {body.__name__}")
    plain = not by_name and positional in ([Given.BODY], [Given.BODY, Given.DELIVERY])
    return Callee(
        function=function, kind=kind, positional=tuple(positional), named=tuple(by_name), is_plain=handler and plain
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """Finds out what each parameter of one function gets."""

    at: str
    body: type
    delivery: type[Delivery]
    within: tuple[object, ...]

    def source(self, parameter: inspect.Parameter, hint: Any, place: int | None) -> Given | Needed | None:
        """``place``: among a handler's parameters; None: of a dependency. None: it keeps its default.

        Raises:
            DefinitionError: nothing fills it.
        """
        name, default = parameter.name, parameter.default
        at_place = place if parameter.kind is not parameter.KEYWORD_ONLY else None
        if (dependency := self._dependency(name, hint, default)) is not None:
            callee = callee_of(
                self.at, dependency.function, self.body, self.delivery, handler=False, within=self.within
            )
            return Needed(dependency.function, dependency.use_cache, callee)
        if typing.get_origin(hint) is Annotated:
            hint = hint.__origin__
        if at_place == 0:
            self._check(name, hint, self.body)
            return Given.BODY
        if _is_class(hint, Delivery) or _says_delivery(hint):
            self._check(name, hint, self.delivery)
            return Given.DELIVERY
        required = default is inspect.Parameter.empty
        if at_place == 1 and required and not isinstance(hint, str):
            if not (takes := classes(hint)) or issubclass(self.delivery, takes):
                return Given.DELIVERY
            self._check(name, hint, self.delivery, ", or annotate it as Annotated[T, Depends(function)]")
        if place is None and _is_class(hint, BaseModel) and issubclass(self.body, classes(hint)):
            return Given.BODY
        if not required:
            return None
        if isinstance(hint, str):
            raise DefinitionError(
                f"{self.at}: the annotation {hint!r} of {name!r} cannot be resolved; define what it names at the top "
                f"of the module, or write {name}=Depends(function)"
            )
        raise DefinitionError(
            f"{self.at}: nothing fills {name!r}; annotate it as Annotated[T, Depends(function)] "
            "(sagaline.workers.Depends), or give it a default"
        )

    def _dependency(self, name: str, hint: Any, default: object) -> Dependency | None:
        meta = list(hint.__metadata__) if typing.get_origin(hint) is Annotated else []
        for each in (*meta, default):
            if type(each).__name__ in _FOREIGN:
                raise DefinitionError(
                    f"{self.at}: {name!r} uses the Depends of {type(each).__module__.partition('.')[0]}; "
                    "take it from sagaline.workers"
                )
        found = [each for each in (*meta, default) if isinstance(each, Dependency)]
        if len(found) > 1:
            raise DefinitionError(f"{self.at}: {name!r} has two Depends; keep one of them")
        return found[0] if found else None

    def _check(self, name: str, hint: Any, offered: type, remedy: str = "") -> None:
        takes = classes(hint)
        if takes and not issubclass(offered, takes):
            raise DefinitionError(
                f"{self.at} takes {named(takes)} as {name!r}, but gets {offered.__name__}; "
                f"annotate it with {offered.__name__}{remedy}"
            )


_FOREIGN: Final = ("Depends", "Dependant", "Security")


def hints_of(function: Callable[..., object]) -> dict[str, Any]:
    """The annotation of each parameter; of one that cannot be resolved its text, without one ``Any``."""
    call = function if inspect.isroutine(function) or inspect.isclass(function) else function.__call__  # type: ignore[operator]  # as it is called
    if isinstance(function, partial):
        call = function.func
    call = inspect.unwrap(call)
    space = getattr(call, "__globals__", None) or vars(sys.modules[call.__module__])
    parameters = inspect.signature(function).parameters.values()
    found = {each.name: _resolved(each.annotation, space) for each in parameters}
    returned = _resolved(inspect.signature(function).return_annotation, space)
    return {**found, "return": returned.__origin__ if typing.get_origin(returned) is Annotated else returned}


def _resolved(annotation: Any, space: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        found = typing.get_type_hints(holder, space, include_extras=True)["it"]
    except Exception:  # it names what exists only for type checkers, or is anything else
        return annotation if isinstance(annotation, str) else Any
    return getattr(found, "__value__", found)


def classes(hint: Any) -> tuple[type, ...]:
    """The classes that an annotation allows; empty when one of its parts is not a plain class."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = typing.get_args(hint) if union else (hint,)
    return parts if all(isinstance(part, type) and part is not Any for part in parts) else ()


def named(found: Iterable[type]) -> str:
    """Classes for a message."""
    return " or ".join(each.__name__ for each in found)


def _is_class(hint: Any, of: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, of)


def _says_delivery(hint: Any) -> bool:
    """An annotation that exists only for type checkers, by its text."""
    return isinstance(hint, str) and hint.rpartition(".")[2] in ("Context", "Message", "Delivery")


def _kind(function: Callable[..., object]) -> Kind:
    is_plain = inspect.isroutine(function) or inspect.isclass(function) or isinstance(function, partial)
    call = function if is_plain else function.__call__  # type: ignore[operator]  # as it is called
    for kind, holds in (
        (Kind.ASYNC_GENERATOR, inspect.isasyncgenfunction),
        (Kind.GENERATOR, inspect.isgeneratorfunction),
        (Kind.ASYNC, inspect.iscoroutinefunction),
    ):
        if holds(call):
            return kind
    return Kind.SYNC
