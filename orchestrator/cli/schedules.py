"""``saga schedules``: puts, shows and operates schedules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ...sagas.event import Event
from ...sagas.schedule import Schedule
from .loading import load
from .options import Planned, Remote, Signed
from .output import grid, moment, print_list, print_out
from .pages import gather
from .paths import segment
from .remote import Json, request
from .spans import seconds
from .starting import read_input
from .users import signature

__all__ = ["apply", "ask", "list_schedules", "put", "show"]


def list_schedules(remote: Remote, *, paused: bool, limit: int, as_json: bool) -> None:
    """Prints the schedules, by name.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, cursor = gather(remote, "/v1/schedules", "schedules", limit, filters={"paused": "true"} if paused else {})
    if as_json:
        typer.echo(json.dumps({"schedules": found, "cursor": cursor}))
    elif not found:
        typer.echo("no schedule is paused" if paused else "there is no schedule")
    else:
        table = grid("schedule", "starts", "when", "next", "last", "outcome")
        for each in found:
            last, coming = each["last"] or {}, "paused" if each["paused"] else (each["next"] or ["never"])[0]
            told = (_outcome(last), each["wrong"])
            when, outcome = _when(each), "; ".join(part for part in told if part)
            facts = (each["name"], _starts(each), when, coming, moment(last.get("due_at")), outcome)
            table.add_row(*map(Text, facts))
        print_list(table, cursor)


def show(remote: Remote, name: str, *, as_json: bool) -> None:
    """Prints a schedule with its next due times and its last starts.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", _path(name))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_out(_view(found))


def put(remote: Remote, name: str, planned: Planned, *, signed: Signed, as_json: bool) -> None:
    """Creates a schedule from options, or replaces what it does.

    Raises:
        Mistake: a span or the input cannot be read.
        Failure: the API rejected it; the message says why.
        Unreachable: the API does not answer.
    """
    body: Json = {
        "definition": planned.definition,
        "event": planned.event,
        "input": read_input(planned.input),
        "cron": planned.cron,
        "every_seconds": None if planned.every is None else seconds(planned.every, "--every"),
        "zone": planned.zone,
        "key": planned.key,
        "due_into": planned.due_into,
        "catch_up": planned.catch_up,
        "grace_seconds": seconds(planned.grace, "--grace"),
        "jitter_seconds": seconds(planned.jitter, "--jitter"),
    }
    _put(remote, name, body, signed, as_json)


def apply(remote: Remote, references: Sequence[str], *, signed: Signed, as_json: bool) -> None:
    """Puts schedules that are declared in code.

    Raises:
        Mistake: there is no such module or schedule.
        DefinitionError: the module declares something wrongly.
        Failure: the API rejected one; those before it are in effect.
        Unreachable: the API does not answer.
    """
    for schedule in load(references, Schedule):
        _put(remote, schedule.name, _body(schedule), signed, as_json)


def ask(remote: Remote, name: str, act: str, *, signed: Signed, as_json: bool, more: Json | None = None) -> None:
    """Sends a request and prints its result. ``act``: a path of it, or ``delete``.

    Raises:
        Failure: the API rejected the request; the message says why.
        Unreachable: the API does not answer.
    """
    body: Json = {**signature(remote, signed), **(more or {})}
    method, path = ("DELETE", _path(name)) if act == "delete" else ("POST", f"{_path(name)}/{act}")
    status, answer = request(remote, method, path, body=body)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    news = "done" if status != 202 and answer["changed"] else "nothing to change"
    if status == 202:
        news = f"accepted but not decided yet; check with: saga schedules show {name}"
    typer.echo(f"{act} {name}: {news}")


def _put(remote: Remote, name: str, body: Json, signed: Signed, as_json: bool) -> None:
    status, answer = request(remote, "PUT", _path(name), body={**body, **signature(remote, signed)})
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        typer.echo(f"{name} is accepted but not decided yet; check with: saga schedules show {name}")
    else:
        typer.echo(f"{name} {'is in effect' if answer['changed'] else 'is unchanged: it was in effect already'}")


def _body(schedule: Schedule[Any]) -> Json:
    """A declaration as the API takes it."""
    starts = schedule.starts
    return {
        "event" if isinstance(starts, Event) else "definition": starts.name,
        "input": schedule.body,
        "cron": schedule.cron,
        "every_seconds": None if schedule.every is None else schedule.every.total_seconds(),
        "zone": schedule.zone,
        "key": schedule.key,
        "due_into": schedule.due_into,
        "catch_up": schedule.catch_up,
        "grace_seconds": schedule.grace.total_seconds(),
        "jitter_seconds": schedule.jitter.total_seconds(),
    }


def _path(name: str) -> str:
    return f"/v1/schedules/{segment(name)}"


def _starts(found: Json) -> str:
    name: str = found["definition"] or found["event"]
    return name


def _when(found: Json) -> str:
    if found["cron"] is None:
        return f"every {found['every_seconds']:g} s"
    return f"{found['cron']} {found['zone']}"


def _outcome(fired: Json) -> str:
    reason = f": {fired['reason']}" if fired.get("reason") else ""
    return f"{fired.get('outcome', '')}{reason}"


def _view(found: Json) -> RenderableType:
    paused = ", paused" if found["paused"] else ""
    why = f": {found['reason']}" if found["reason"] else ""
    lines = [
        f"{found['name']} starts {_starts(found)} at {_when(found)}{paused}",
        f"changed {moment(found['changed_at'])} by {found['changed_by'] or 'unknown'}{why}",
        f"key {found['key']}, catch-up {found['catch_up']}, input {json.dumps(found['input'], ensure_ascii=False)}",
        f"{found['started']} started, {found['denied']} of them denied, {found['missed']} missed",
        f"next: {', '.join(found['next']) or 'none'}",
    ]
    if found["backfill"] is not None:
        done, until = moment(found["backfill"]["through"]), moment(found["backfill"]["until"])
        lines.append(f"a backfill has come to {done}, and goes on until {until}")
    if found["wrong"]:
        lines.append(f"it waits: {found['wrong']}")
    table = grid("due", "sent", "instance", "outcome")
    for each in found["recent"]:
        table.add_row(*map(Text, (moment(each["due_at"]), moment(each["at"]), each["instance"], _outcome(each))))
    return Group(*map(Text, lines), *([table] if found["recent"] else []))
