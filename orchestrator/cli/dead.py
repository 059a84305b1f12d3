"""``saga dead``: the inbox of dead letters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ..messages.dead import DeadAct
from .bulk import LETTERS, run_bulk
from .errors import Failure, Mistake
from .options import DeadWhere, Remote, Signed
from .output import grid, moment, print_list, print_out
from .pages import gathered
from .parcels import letters_view, sent, shown_bytes
from .paths import segment
from .remote import Json, request
from .terminal import visible
from .users import signature

__all__ = ["Chosen", "act_on", "chosen", "dead_path", "list_groups", "list_letters", "show"]


class Chosen(NamedTuple):
    """Letters by their names, or all that match ``where``."""

    names: Sequence[str]
    where: Json
    apply: bool
    rate: float | None


def chosen(
    names: Sequence[str] | None, where: DeadWhere, *, everything: bool, apply: bool, rate: float | None
) -> Chosen:
    """What an act is for.

    Raises:
        Mistake: nothing is selected, or names and a filter together.
    """
    filters = _filters(where)
    if names and (filters or everything or apply or rate is not None):
        raise Mistake("give names, or a filter (with --apply and --rate), not both")
    if not names and not filters and not everything:
        raise Mistake("nothing is selected: give names of letters, a filter, or --all")
    return Chosen(names or (), filters, apply, rate)


def dead_path(name: str) -> str:
    """The path of a dead letter."""
    return f"/v1/dead/{segment(name)}"


def list_letters(remote: Remote, where: DeadWhere, *, limit: int, as_json: bool) -> None:
    """Prints letters, newest first.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    filters = {"state": "open", **_filters(where)}
    found = gathered(remote, "/v1/dead", "letters", limit, filters=filters)
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["letters"]:
        typer.echo("no dead letters match")
    else:
        table = grid("id", "dead since", "topic", "group", "key", "state", "fingerprint", "reason")
        for each in found["letters"]:
            place = (each["id"], moment(each["at"]), each["topic"], each["group"], shown_bytes(each["key"]))
            table.add_row(*map(Text, (*place, _state(each), each["fingerprint"], each["reason"])))
        print_list(table, found["cursor"])
        typer.echo(f"{found['count']} dead letters match")


def list_groups(remote: Remote, where: DeadWhere, *, limit: int, as_json: bool) -> None:
    """Prints letters by the fingerprint of their failure.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    filters = {"state": "open", **_filters(where)}
    found = gathered(remote, "/v1/dead/groups", "groups", limit, filters=filters)
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["groups"]:
        typer.echo("no dead letters match")
    else:
        table = grid("fingerprint", "letters", "first", "last", "reason of one")
        for each in found["groups"]:
            times = (moment(each["first_at"]), moment(each["last_at"]))
            table.add_row(*map(Text, (each["fingerprint"], str(each["letters"]), *times, each["reason"])))
        print_list(table, found["cursor"])
        typer.echo(f"{found['count']} dead letters match")


def show(remote: Remote, name: str, *, as_json: bool) -> None:
    """Prints a letter and what was done with it.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", dead_path(name))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_out(_view(found))


def act_on(remote: Remote, act: DeadAct, selected: Chosen, *, signed: Signed, as_json: bool) -> None:
    """Acts on letters; prints the result of each, or how many have which.

    Raises:
        Failure: some were denied or have failed; the message says how to continue.
        Unreachable: the API does not answer, as ``request``.
    """
    if selected.names:
        _act_on_each(remote, act, selected.names, signed=signed, as_json=as_json)
        return
    body: Json = {
        "act": act.value,
        "where": selected.where,
        "per_second": selected.rate,
        **signature(remote, signed),
    }
    run_bulk(remote, LETTERS, body, apply=selected.apply, as_json=as_json)


def _act_on_each(remote: Remote, act: DeadAct, names: Sequence[str], *, signed: Signed, as_json: bool) -> None:
    """One after the other; one that is denied stops no other."""
    results: list[Json] = []
    paths = [dead_path(name) for name in names]
    try:
        for name, path in zip(names, paths, strict=True):
            try:
                answer, news = sent(remote, path, act.value, signed=signed)
            except Failure as error:
                answer, news = {"error": str(error)}, str(error)
            results.append({**answer, "id": name})
            if not as_json:
                typer.echo(f"{act} {name}: {visible(news)}", err="error" in answer)
    finally:
        if as_json:
            typer.echo(json.dumps({"letters": results}))
    failed = sum("error" in each for each in results)
    if failed:
        raise Failure(f"{failed} of {len(names)} were denied; resolve the cause, then {LETTERS.again}")


def _filters(where: DeadWhere) -> Json:
    given = {
        "topic": where.topic,
        "key": where.key,
        "fingerprint": where.fingerprint,
        "reason": where.match,
        "since": where.since,
        "until": where.until,
        "state": where.state.value if where.state is not None else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _state(found: Json) -> str:
    by = f" by {found['by']}" if found["by"] else ""
    return f"edited{by}" if found["state"] == "open" and found["edited"] else f"{found['state']}{by}"


def _view(found: Json) -> RenderableType:
    place = f"{found['topic']}/{found['partition']}/{found['offset']}" if found["topic"] else "an unknown place"
    group = f", a message of group {found['group']}" if found["group"] else ""
    lines = [
        f"{found['id']}: {_state(found)}, dead since {moment(found['at'])}",
        f"from {place}{group}",
        f"why ({found['code'] or 'no code'}, fingerprint {found['fingerprint']}): {found['reason']}",
        found["detail"],
        f"it cannot be redriven: {found['denied']['reason']}" if found["denied"] else "",
    ]
    letters = [found | {"id": "original"}]
    if found["edited"]:
        letters.append({"id": "edited", "value": found["edited_value"], "headers": found["edited_headers"]})
    acts = grid("when", "act", "outcome", "by", "reason")
    for each in found["acts"]:
        row = (moment(each["at"]), each["act"], each["outcome"], each["by"], each["reason"])
        acts.add_row(*map(Text, row))
    return Group(*(Text(line) for line in lines if line), letters_view(letters), *([acts] if found["acts"] else []))
