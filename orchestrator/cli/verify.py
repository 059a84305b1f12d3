"""``saga verify``: the bounded model checker on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...api.verification import VerificationView, not_checked
from ...sagas.definition import AnyDefinition, Definition
from ...sagas.models import first_mistake, read_foreign
from ..kernel import Registry
from ..messages.parsing import parse_json
from ..messages.values import JsonObject
from ..scenes.sample import NoSampleError
from ..verify import Bounds, Verified, as_json, lines, pytest_file, verify
from ..wiring import now_ms
from .errors import FAILED, Mistake
from .loading import load

__all__ = ["VerifyOptions", "run_verify", "verification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """The options of `saga verify`; see its help."""

    definition: str | None
    bounds: Bounds
    input: str | None
    external: Sequence[str]
    pytest: str | None
    as_json: bool


def run_verify(references: Sequence[str], options: VerifyOptions) -> None:
    """Prints the findings; exit code 1 if there are any.

    Raises:
        Mistake: the command line is wrong.
        NoSampleError: no valid value of a model could be generated.
    """
    found: list[tuple[Verified, str]] = []
    loaded = [(each, reference) for reference in references for each in load([reference], Definition)]
    app = [each for each, _ in loaded]
    chosen = [(each, reference) for each, reference in loaded if options.definition in (None, each.name)]
    if not chosen:
        names = ", ".join(each.name for each in app)
        raise Mistake(f"there is no definition {options.definition!r} in {' '.join(references)}; there are {names}")
    if options.input is not None and len(chosen) > 1:
        raise Mistake("--input is the input of one definition; say which: --definition NAME")
    inputs = _inputs(options.input, chosen[0][0])
    for definition, reference in chosen:
        found.append((_verify(definition, app, inputs, options), source(definition, reference)))
    _print(found, options)
    if any(verified.found for verified, _ in found):
        raise typer.Exit(FAILED)


_ON_REQUEST: Final = Bounds(states=5_000)
_SECONDS: Final = 10


class _TooLong(Exception):
    """The time of a check on request is over."""


def verification(definition: AnyDefinition, registry: Registry) -> VerificationView:
    """What an API shows: at most 5,000 states, in about ten seconds."""
    until_ms = now_ms() + _SECONDS * 1_000

    def progress(visited: int, waiting: int, depth: int) -> None:
        if now_ms() > until_ms:
            raise _TooLong

    try:
        found = as_json(verify(definition, app=[*registry], bounds=_ON_REQUEST, progress=progress))
    except _TooLong:
        return not_checked(definition, f"it takes longer than {_SECONDS} s; run `saga verify MODULE:SAGA`")
    except (NoSampleError, AssertionError) as error:
        return not_checked(definition, f"{error}")
    except Exception as error:  # whatever the code of the author raises: it is said, and not searched again
        return not_checked(definition, f"it failed with {type(error).__name__}; run `saga verify MODULE:SAGA`")
    return VerificationView.model_validate({**found, "wrong": None, "faults": _ON_REQUEST.faults})


def source(definition: AnyDefinition, reference: str) -> str:
    """A reference to one definition; in a list by its name in the module, or by its index."""
    module_name, _, attribute = reference.partition(":")
    module = sys.modules[module_name]
    if getattr(module, attribute, None) is definition:
        return reference
    name = next((name for name, value in vars(module).items() if value is definition), None)
    if name is not None:
        return f"{module_name}:{name}"
    value = getattr(module, attribute, None)
    at = next((n for n, each in enumerate(value) if each is definition), None) if isinstance(value, list) else None
    return reference if at is None else f"{reference}[{at}]"


def _verify(
    definition: AnyDefinition, app: Sequence[AnyDefinition], inputs: Sequence[JsonObject], options: VerifyOptions
) -> Verified:
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task(definition.name, total=None)

        def progress(visited: int, waiting: int, depth: int) -> None:
            """Shows progress among the states known so far: the bar falls back when new states are found faster."""
            text = f"{definition.name}: {visited:,} states visited, {waiting:,} to go, depth {depth}"
            bar.update(line, description=text, completed=visited, total=visited + waiting)

        return verify(
            definition,
            app=app,
            inputs=inputs,
            external=[name for name in options.external if name] if options.external else None,
            bounds=options.bounds,
            progress=progress,
        )


def _inputs(path: str | None, definition: AnyDefinition) -> list[JsonObject]:
    if path is None:
        return []
    try:
        value = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise Mistake(f"--input {path}: {error.strerror}; give a file that can be read") from None
    except ValueError as error:
        raise Mistake(f"--input {path} is not JSON: {error}; write an object, or a list of objects") from None
    given = value if isinstance(value, list) else [value]
    found: list[JsonObject] = [each for each in given if isinstance(each, dict)]
    if not found or len(found) != len(given):
        raise Mistake(f"--input {path} contains no inputs; write an object, or a list of objects")
    for each in found:
        try:
            read_foreign(definition.state, each)
        except ValidationError as error:
            where, wrong = first_mistake(error)
            raise Mistake(f"--input {path} is not an input of {definition.name}: {where or 'input'}: {wrong}") from None
    return found


def _print(found: Sequence[tuple[Verified, str]], options: VerifyOptions) -> None:
    tests = pytest_file(found)
    if options.pytest is not None and tests:
        Path(options.pytest).write_text(tests)
    if options.as_json:
        typer.echo(json.dumps({"definitions": [as_json(verified) for verified, _ in found]}))
        return
    for verified, _ in found:
        typer.echo("\n".join(lines(verified)) + "\n")
    if tests and options.pytest is not None:
        typer.echo(f"tests that fail until this is fixed: {options.pytest}")
    elif tests:
        typer.echo(tests)
