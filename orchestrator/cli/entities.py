"""``saga locks`` and ``saga mailboxes``: holders, waiters and kept events."""

from __future__ import annotations

import json

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .options import Remote
from .output import grid, moment, print_list, print_out
from .pages import gather
from .paths import segment
from .remote import Json, request

__all__ = ["list_locks", "list_mailboxes", "show_lock", "show_mailbox"]


def list_locks(remote: Remote, prefix: str, *, waiting: bool, limit: int, as_json: bool) -> None:
    """Prints the held locks, by name.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    asked = {"prefix": prefix, "waiting": str(waiting).lower()}
    found, cursor = gather(remote, "/v1/locks", "locks", limit, filters=asked)
    if as_json:
        typer.echo(json.dumps({"locks": found, "cursor": cursor}))
    elif not found:
        typer.echo("no lock has waiters" if waiting else "no lock is held")
    else:
        print_list(_locks_table(found), cursor)


def show_lock(remote: Remote, name: str, *, as_json: bool) -> None:
    """Prints who holds a lock and who waits for it.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", f"/v1/locks/{segment(name)}")
    if as_json:
        typer.echo(json.dumps(found))
    elif found["holder"] is None:
        typer.echo(f"nothing holds {name}")
    else:
        print_out(_locks_table([found]))


def list_mailboxes(remote: Remote, event: str | None, *, waiting: bool, limit: int, as_json: bool) -> None:
    """Prints the mailboxes that have waiters or kept events.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    asked = {"event": event, "waiting": str(waiting).lower()}
    found, cursor = gather(remote, "/v1/mailboxes", "mailboxes", limit, filters=asked)
    if as_json:
        typer.echo(json.dumps({"mailboxes": found, "cursor": cursor}))
    elif not found:
        typer.echo("nothing waits for an event" if waiting else "nothing waits for an event, and none is kept")
    else:
        table = grid("event", "key", "waiting", "kept")
        for each in found:
            table.add_row(*map(Text, (each["event"], each["key"], str(each["waiting"]), str(each["kept"]))))
        print_list(table, cursor)


def show_mailbox(remote: Remote, event: str, key: str, *, as_json: bool) -> None:
    """Prints who waits for an event of a key, and which ones are kept.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", f"/v1/mailboxes/{segment(event)}/{segment(key)}")
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["waiting"] and not found["kept"]:
        typer.echo(f"nothing waits for {event} of {key}, and none is kept")
    else:
        print_out(_mailbox_view(found))


def _locks_table(locks: list[Json]) -> Table:
    table = grid("lock", "", "instance", "step", "since")
    for lock in locks:
        for role, each in [("holds", lock["holder"]), *(("waits", each) for each in lock["waiting"])]:
            name = lock["name"] if role == "holds" else ""
            table.add_row(*map(Text, (name, role, each["instance"], each["step"], moment(each["since"]))))
    return table


def _mailbox_view(found: Json) -> RenderableType:
    waiting = grid("who waits", "at step")
    for each in found["waiting"]:
        waiting.add_row(Text(each["instance"]), Text(each["step"]))
    kept = grid("kept event", "until", "brought to", "body")
    for each in found["kept"]:
        taken = ", ".join(each["taken_by"]) or "nobody yet"
        kept.add_row(*map(Text, (each["id"], moment(each["until"]), taken, json.dumps(each["body"]))))
    return Group(*([waiting] if found["waiting"] else []), *([kept] if found["kept"] else []))
