"""``saga hooks``: registers and changes hooks over the API, which takes the deliveries itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer
from rich.text import Text

from .errors import Mistake
from .options import Remote
from .output import grid, print_list
from .remote import request

__all__ = ["list_hooks", "pairs"]


def list_hooks(remote: Remote, *, as_json: bool) -> None:
    """Prints the hooks, by name.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, answer = request(remote, "GET", "/v1/hooks")
    if as_json:
        typer.echo(json.dumps(answer))
    elif not answer["hooks"]:
        typer.echo("there is no hook; register one with: saga hooks put NAME --event EVENT --key-at /POINTER")
    else:
        table = grid("hook", "scheme", "events", "key at", "path")
        for each in answer["hooks"]:
            events = ", ".join(each["events"].values()) or each["event"]
            table.add_row(*map(Text, (each["name"], each["scheme"], events, each["key_at"], each["url"])))
        print_list(table, None)


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """The pairs of an option that is ``name=value`` each time.

    Raises:
        Mistake: one is no pair.
    """
    found: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise Mistake(f"{option} {each!r} is no pair; give NAME=VALUE")
        found[name] = value
    return found
