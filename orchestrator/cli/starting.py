"""``saga start``: reads the input, sends it and prints the result."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from ..messages.parsing import parse_json
from .errors import Mistake
from .options import Remote
from .paths import segment
from .remote import Json, request

__all__ = ["publish", "read_input", "read_json", "read_patch", "start"]


def start(remote: Remote, definition: str, options: Json, *, input: str, as_json: bool) -> None:
    """Starts an instance and prints its id, status and trace id.

    Args:
        remote: the API.
        definition: its name.
        options: other fields of the request; None: not given.
        input: JSON, ``@file`` or ``-``.
        as_json: prints the answer as it came.

    Raises:
        Mistake: the input is not a JSON object, or its file cannot be read.
        Failure: the API rejected the start.
        Unreachable: the API does not answer.
    """
    body: Json = {"input": read_input(input), **{name: value for name, value in options.items() if value is not None}}
    status, answer = request(remote, "POST", f"/v1/sagas/{segment(definition)}", body=body)
    for warning in () if as_json else answer.get("warnings", ()):
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        instance = answer["id"]
        what = f"waits to begin: {reason}" if (reason := answer.get("reason")) else "not decided yet"
        typer.echo(f"{instance} is accepted; {what}; check with: saga show {instance}")
    else:
        news = "started" if status == 201 else "exists already, with the same input"
        typer.echo(f"{answer['id']} {news}: {answer['status']}  (trace {answer.get('trace_id') or 'none'})")


def publish(remote: Remote, event: str, *, key: str, body: str, id: str | None, as_json: bool) -> None:
    """Publishes an event and prints its id.

    Raises:
        Mistake: the body is not a JSON object, or its file cannot be read.
        Failure: the API rejected the event.
        Unreachable: the API does not answer.
    """
    sent: Json = {"key": key, "body": read_input(body, "--body")}
    sent |= {"id": id} if id is not None else {}
    _, answer = request(remote, "POST", f"/v1/events/{segment(event)}", body=sent)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        typer.echo(f"{answer['event']} for {answer['key']} is published: id {answer['id']}")


def read_input(given: str, option: str = "--input") -> Json:
    """Reads an object from JSON on the command line, ``@file`` or ``-``.

    Raises:
        Mistake: it cannot be read, or is not a JSON object.
    """
    value, where = read_json(given, option, "one object, such as '{\"order\": ...}'")
    if not isinstance(value, dict):
        raise Mistake(f"{where} holds a JSON {type(value).__name__}; give one object with the fields of the state")
    return value


def read_patch(given: str) -> list[object]:
    """Reads a JSON Patch from the command line, ``@file`` or ``-``; the engine checks its operations.

    Raises:
        Mistake: it cannot be read, or is not a JSON array.
    """
    example = '[{"op": "replace", "path": "/order/total_cents", "value": 4200}]'
    value, where = read_json(given, "--patch", f"a list of operations, such as '{example}'")
    if not isinstance(value, list):
        raise Mistake(f"{where} holds a JSON {type(value).__name__}; give a list of operations, such as '{example}'")
    return value


def read_json(given: str, option: str, wanted: str) -> tuple[object, str]:
    """Reads a value from JSON on the command line, ``@file`` or ``-``; also returns where it came from.

    Raises:
        Mistake: it cannot be read, or is not JSON; ``wanted`` says what to give.
    """
    where = option
    if given == "-":
        where, given = "standard input", sys.stdin.read()
    elif given.startswith("@"):
        where = given[1:]
        try:
            given = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise Mistake(f"{where} cannot be read: {reason}; give {option} @FILE with a file of JSON") from error
    try:
        return parse_json(given.encode()), where
    except ValueError as error:
        raise Mistake(f"{where} is not JSON: {error}; give {wanted}") from error
