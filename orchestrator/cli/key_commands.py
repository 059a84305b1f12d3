"""``saga keys``: the commands and options, and what they print. A secret is printed once, when it is made."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from ..messages.access import Role
from .options import Reading, Remote, Signed, command
from .output import grid, moment, print_list
from .paths import segment
from .remote import Json, request
from .spans import SPAN, seconds
from .users import signature

__all__ = ["add_key_commands"]

keys_app = typer.Typer(help="Keys of the API: create, list, rotate, revoke.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who bears the key: a person or a program.")]
ValidFor = Annotated[str | None, typer.Option(metavar=SPAN, help="How long it is valid; default: until it is revoked.")]
_PATH = "/v1/keys"


@command(keys_app, "create")
def keys_create(
    *,
    name: Name,
    role: Annotated[Role, typer.Option(help="What the key permits.")],
    group: Annotated[list[str] | None, typer.Option(help="A group of the bearer, for questions; repeatable.")] = None,
    valid_for: ValidFor = None,
    remote: Remote,
    reading: Reading,
    signed: Signed,
) -> None:
    """Create a key and print its secret, which is shown this once."""
    body: Json = {"name": name, "role": role.value, "groups": group or [], **_asked(remote, signed, valid_for)}
    _made(request(remote, "POST", _PATH, body=body)[1], reading)


@command(keys_app, "list")
def keys_list(*, remote: Remote, reading: Reading) -> None:
    """List the keys: their roles, groups, who made them, and until when they are valid."""
    found = request(remote, "GET", _PATH)[1]["keys"]
    if reading.as_json:
        typer.echo(json.dumps({"keys": found}))
    elif not found:
        typer.echo("there is no key; only the tokens of the API's settings are accepted")
    else:
        table = grid("key", "role", "groups", "created", "by", "valid until")
        for each in found:
            until = "revoked" if each["expires_at"] is None else moment(each["expires_at"])
            until = until if each["valid"] else f"expired {until}"
            facts = (each["name"], each["role"], ", ".join(each["groups"]), moment(each["created_at"]))
            table.add_row(*map(Text, (*facts, each["created_by"], until)))
        print_list(table, None)


@command(keys_app, "rotate")
def keys_rotate(
    *,
    name: Name,
    overlap: Annotated[str, typer.Option(metavar=SPAN, help="How long the old secrets stay valid.")] = "1d",
    valid_for: Annotated[
        str | None, typer.Option(metavar=SPAN, help="How long the new secret is valid; default: until the key ends.")
    ] = None,
    remote: Remote,
    reading: Reading,
    signed: Signed,
) -> None:
    """Give a key a new secret and print it; the old one stays valid for a while."""
    body: Json = {"overlap_seconds": seconds(overlap, "--overlap"), **_asked(remote, signed, valid_for)}
    _made(request(remote, "POST", f"{_path(name)}/rotate", body=body)[1], reading)


@command(keys_app, "revoke")
def keys_revoke(*, name: Name, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Revoke a key: it ends at once on the node that answers, and within moments on the others."""
    answer = request(remote, "DELETE", _path(name), body=_asked(remote, signed, None))[1]
    typer.echo(json.dumps(answer) if reading.as_json else f"{name} is revoked")


def _path(name: str) -> str:
    return f"{_PATH}/{segment(name)}"


def _asked(remote: Remote, signed: Signed, valid_for: str | None) -> Json:
    body = signature(remote, signed)
    return body if valid_for is None else {**body, "valid_for_seconds": seconds(valid_for, "--valid-for")}


def _made(made: Json, reading: Reading) -> None:
    """The secret alone goes to stdout: ``export SAGALINE_API_TOKEN=$(saga keys create …)`` keeps it off the screen."""
    typer.echo(json.dumps(made) if reading.as_json else made["secret"])
    if not reading.as_json:
        until = f", valid until {made['expires_at']}" if made["expires_at"] else ""
        typer.echo(f"{made['name']} has the role {made['role']}{until}; the secret is not shown again", err=True)


def add_key_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(keys_app, name="keys", no_args_is_help=True)
