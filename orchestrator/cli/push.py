"""``saga push``: makes the key, and shows and changes subscriptions over the API."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer
from rich.text import Text

from ..errors import ConfigurationError
from .errors import Mistake
from .options import Remote, Signed
from .output import grid, moment, print_list
from .remote import Json, request
from .starting import read_input
from .users import signature

__all__ = ["add", "list_subscriptions", "make_key"]

_PATH = "/v1/push/subscriptions"


def make_key(out: Path | None) -> None:
    """Prints a new key, or writes it to a file that only its owner can read.

    Raises:
        ConfigurationError: the library is missing.
        Mistake: the file is there already, or cannot be written.
    """
    try:
        from ..push import PushKey
    except ImportError as error:
        raise ConfigurationError("push messages need a library: pip install 'sagaline[push]'") from error
    key = PushKey.make()
    if out is None:
        typer.echo(f"SAGALINE_PUSH_KEY={key}")
    else:
        try:
            with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{key}\n")
        except OSError as error:
            raise Mistake(f"{out} cannot be made: {error.strerror}; give another file") from error
        typer.echo(f"the key is in {out}: set SAGALINE_PUSH_KEY={out}")
    typer.echo("set SAGALINE_PUSH_CONTACT too, and both for the API and for `saga webhooks serve`", err=True)


def list_subscriptions(remote: Remote, *, as_json: bool) -> None:
    """Prints the subscriptions, by name.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, answer = request(remote, "GET", _PATH)
    if as_json:
        typer.echo(json.dumps(answer))
    elif not answer["subscriptions"]:
        typer.echo("no browser is subscribed; use the dashboard in the browser, or: saga push add JSON")
    else:
        table = grid("subscription", "by", "types", "definitions", "push service", "until")
        for each in answer["subscriptions"]:
            conditions = (", ".join(each[name]) or "all" for name in ("types", "definitions"))
            until = "no end" if each["expires_at"] is None else moment(each["expires_at"])
            table.add_row(*map(Text, (each["name"], each["by"], *conditions, each["host"], until)))
        print_list(table, None)


def add(remote: Remote, given: str, more: Json, *, signed: Signed, as_json: bool) -> None:
    """Subscribes a browser and prints the name of the subscription.

    Raises:
        Mistake: it cannot be read, or is no JSON object.
        Failure, Unreachable: as ``request``.
    """
    body = {**read_input(given, "the subscription"), **more, **signature(remote, signed)}
    status, answer = request(remote, "POST", _PATH, body=body)
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        typer.echo("it is accepted but not decided yet; check with: saga push list")
    else:
        typer.echo(f"{answer['name']} is subscribed; try it: saga push test {answer['name']}")
