"""``saga parked`` and ``saga delayed``: keys that wait for an operator, and messages that wait for their time."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from .errors import Mistake
from .options import Edited, Remote, Signed
from .output import grid, moment, print_list, print_out
from .pages import gather
from .paths import segment
from .remote import Json, request
from .users import signature

__all__ = [
    "ask",
    "delayed_path",
    "edit",
    "letters_view",
    "list_delayed",
    "list_parked",
    "parked_path",
    "sent",
    "show",
    "shown_bytes",
]

_VALUE_CHARS = 200


def parked_path(group: str, key: str) -> str:
    """The path of a key of a group."""
    return f"/v1/parked/{segment(group)}/{segment(key)}"


def delayed_path(message: str) -> str:
    """The path of a delayed message."""
    return f"/v1/delayed/{segment(message)}"


def list_parked(remote: Remote, group: str | None, *, retrying: bool, limit: int, as_json: bool) -> None:
    """Prints the keys that are parked, or retried.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    asked = {"group": group, "status": "retrying" if retrying else "parked"}
    found, cursor = gather(remote, "/v1/parked", "parked", limit, filters=asked)
    if as_json:
        typer.echo(json.dumps({"parked": found, "cursor": cursor}))
    elif not found:
        typer.echo(f"no key is {asked['status']}")
    else:
        table = grid("group", "key", "letters", "attempts", "failed", "next attempt", "error")
        for each in found:
            counts = (str(each["letters"]), str(each["attempts"]))
            times = (moment(each["failed_at"]), moment(each["next_at"]))
            table.add_row(*map(Text, (each["group"], each["key"], *counts, *times, each["error"])))
        print_list(table, cursor)


def list_delayed(remote: Remote, *, limit: int, as_json: bool) -> None:
    """Prints the delayed messages, by id.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, cursor = gather(remote, "/v1/delayed", "delayed", limit)
    if as_json:
        typer.echo(json.dumps({"delayed": found, "cursor": cursor}))
    elif not found:
        typer.echo("no message is delayed")
    else:
        table = grid("id", "topic", "due", "since")
        for each in found:
            table.add_row(*map(Text, (each["id"], each["topic"], moment(each["due_at"]), moment(each["since"]))))
        print_list(table, cursor)


def show(remote: Remote, path: str, *, as_json: bool) -> None:
    """Prints a parcel with its letters.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", path)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_out(_delayed_view(found) if "content" in found else _parked_view(found))


def ask(remote: Remote, path: str, act: str, *, signed: Signed, as_json: bool, more: Json | None = None) -> None:
    """Sends a request and prints its result.

    Raises:
        Failure: the API rejected the request; the message says why.
        Unreachable: the API does not answer.
    """
    answer, news = sent(remote, path, act, signed=signed, more=more)
    typer.echo(json.dumps(answer) if as_json else f"{act}: {news}")


def sent(remote: Remote, path: str, act: str, *, signed: Signed, more: Json | None = None) -> tuple[Json, str]:
    """Sends a request: the answer, and the same for people.

    Raises:
        Failure, Unreachable: as ``ask``.
    """
    body: Json = {**signature(remote, signed), **(more or {})}
    status, answer = request(remote, "POST", f"{path}/{act}", body=body)
    if status == 202:
        return answer, "accepted but not decided yet; list what waits to see whether it is"
    return answer, "done" if answer["changed"] else "nothing to change"


def edit(edited: Edited) -> Json:
    """The body of an edit.

    Raises:
        Mistake: the file cannot be read, a header has no ``=``, or nothing is to be changed.
    """
    body: Json = {}
    if edited.value is not None:
        body["value"] = {"base64": b64encode(_read(edited.value)).decode()}
    if edited.header or edited.no_headers:
        body["headers"] = [_header(each) for each in edited.header or ()]
    if not body:
        raise Mistake("nothing would change: give --value, --header or --no-headers")
    return body


def _read(value: str) -> bytes:
    if not value.startswith("@"):
        return value.encode()
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise Mistake(f"{value[1:]} cannot be read: {error.strerror}; give --value TEXT or --value @FILE") from error


def _header(given: str) -> Json:
    name, equals, text = given.partition("=")
    if not name or not equals:
        raise Mistake(f"the header {given!r} has no value; give --header NAME=VALUE")
    return {"name": name, "text": text}


def _parked_view(found: Json) -> RenderableType:
    head = f"{found['group']} {found['key']}: {found['status']}, {found['letters']} letters, first {found['first']}"
    failed = f"attempt {found['attempts']} failed {moment(found['failed_at'])}: {found['error']}"
    lines = [Text(head), *([Text(failed)] if found["failed_at"] else []), Text(found["detail"])]
    if found["next_at"]:
        lines.append(Text(f"next attempt {moment(found['next_at'])}"))
    return Group(*(line for line in lines if line.plain), letters_view(found["contents"]))


def _delayed_view(found: Json) -> RenderableType:
    head = f"{found['message']} to {found['topic']}, due {moment(found['due_at'])}, since {moment(found['since'])}"
    return Group(Text(head), letters_view([found["content"]]))


def letters_view(letters: list[Json]) -> RenderableType:
    """A table of letters."""
    table = grid("letter", "value", "headers")
    for each in letters:
        headers = ", ".join(f"{header['name']}={shown_bytes(header)}" for header in each["headers"])
        table.add_row(*map(Text, (each["id"], shown_bytes(each["value"]), headers)))
    return table


def shown_bytes(found: Json | None) -> str:
    """A part of a letter: its text, or base64; a long one is cut."""
    if found is None:
        return ""
    text: str = found["text"] if found["text"] is not None else f"base64:{found['base64']}"
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}…"
