"""Loads objects by ``package.module:attribute``, as uvicorn does: the current folder is first on the import path.

``package.module:function()`` calls a function without arguments and takes its result, as gunicorn does. Each error is
one sentence that names what exists instead.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeVar

from ...sagas.definition import AnyDefinition, Definition
from ...workers.worker import Worker
from ..errors import DefinitionError
from .errors import Mistake

__all__ = ["load", "load_definitions", "load_module", "load_parts"]

T = TypeVar("T")


def load_definitions(references: Sequence[str]) -> list[AnyDefinition]:
    """The definitions that the references name; see ``load``."""
    return load(references, Definition)


def load_parts(references: Sequence[str]) -> tuple[list[AnyDefinition], list[Worker]]:
    """The definitions and the workers that the references name; see ``load``.

    Raises:
        Mistake: one is neither a definition nor a worker.
    """
    definitions: list[AnyDefinition] = []
    workers: list[Worker] = []
    found = load(references, object)
    for each in (one for given in found for one in (given if isinstance(given, list | tuple) else (given,))):
        if isinstance(each, Definition):
            definitions.append(each)
        elif isinstance(each, Worker):
            workers.append(each)
        else:
            raise Mistake(f"{each!r} is neither a saga nor a worker; name one as MODULE:NAME")
    return definitions, workers


def load(references: Sequence[str], kind: type[T]) -> list[T]:
    """The objects that the references name, each once, in order; an attribute may be a list or tuple of them.

    Args:
        references: ``package.module:attribute``, with dots in the attribute where it is nested.
        kind: what each of them must be.

    Raises:
        Mistake: no such module or attribute, or it is of another kind.
        DefinitionError: the module declares something wrongly; its message says what.
    """
    _see_folder()
    found: list[T] = []
    for reference in references:
        for each in _load_one(reference, kind):
            if not any(each is other for other in found):
                found.append(each)
    return found


def load_module(name: str) -> ModuleType:
    """A module by its dotted name.

    Raises:
        Mistake: there is none, or it cannot be imported.
        DefinitionError: it declares something wrongly.
    """
    _see_folder()
    return _import(name, name)


def _see_folder() -> None:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _load_one(reference: str, kind: type[T]) -> list[T]:
    module_name, colon, attribute = reference.partition(":")
    if not module_name or (colon and not attribute):
        raise Mistake(f"{reference!r} does not name a {kind.__name__}; write package.module:attribute")
    module = _import(module_name, reference)
    if not colon:
        raise Mistake(f"{reference!r} names a module only; write {_instead(module, kind)}")
    value: object = module
    path, called = attribute.removesuffix("()"), attribute.endswith("()")
    for name in path.split("."):
        if not hasattr(value, name):
            near = _near(name, [n for n in vars(value) if not n.startswith("_")] if hasattr(value, "__dict__") else [])
            hint = f"; did you mean {near}?" if near else f"; write {_instead(module, kind)}"
            raise Mistake(f"module {module_name!r} has no attribute {attribute!r}{hint}")
        value = getattr(value, name)
    if called:
        value = _call(value, reference)
    if isinstance(value, kind):
        return [value]
    if isinstance(value, list | tuple) and value and all(isinstance(each, kind) for each in value):
        return list(value)
    instead = f"{reference}()" if isinstance(value, FunctionType) and not called else _instead(module, kind)
    raise Mistake(f"{reference} is {_described(value)}, not a {kind.__name__}; write {instead}")


def _call(value: object, reference: str) -> object:
    if not callable(value):
        raise Mistake(f"{reference.removesuffix('()')} is {_described(value)} and cannot be called; remove the ()")
    try:
        return value()
    except DefinitionError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise Mistake(
            f"{reference} raised {type(error).__name__}: {text}; it must take no arguments; --debug shows where"
        ) from error


def _import(name: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Mistake(_no_module(error.name, reference)) from error
        raise Mistake(
            f"module {name!r} cannot be imported, because it imports {error.name!r}, which is not installed; "
            "install it, or fix the import"
        ) from error
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        raise Mistake(
            f"module {name!r} cannot be imported: {type(error).__name__}: {text}; --debug shows where"
        ) from error


def _no_module(missing: str, reference: str) -> str:
    if reference.endswith(".py") or ".py:" in reference or "/" in reference:
        dotted = reference.replace(".py", "").replace("/", ".").strip(".")
        return f"{reference!r} is a path; write it as a module: {dotted}"
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else [str(Path.cwd())]
    there = [module.name for module in pkgutil.iter_modules(path)]
    near = _near(last, there)
    hint = f"did you mean {f'{parent}.' if parent else ''}{near}?" if near else "go to the folder that holds it"
    return f"there is no module {missing!r} in {parent or Path.cwd()} or among the installed ones; {hint}"


def _instead(module: ModuleType, kind: type[object]) -> str:
    """What to write instead: the module's objects of the right kind."""
    names = [name for name, value in vars(module).items() if isinstance(value, kind) and not name.startswith("_")]
    if names:
        return " or ".join(f"{module.__name__}:{name}" for name in names[:5])
    return f"{module.__name__}:NAME, where NAME is a {kind.__name__} (the module has none now)"


def _near(name: str, candidates: Iterable[str]) -> str:
    return " or ".join(get_close_matches(name, list(candidates), n=3, cutoff=0.6))


def _described(value: object) -> str:
    if isinstance(value, list | tuple):
        kinds = sorted({type(each).__name__ for each in value})
        return f"a {type(value).__name__} of {', '.join(kinds)}" if kinds else f"an empty {type(value).__name__}"
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
