"""``saga list``, ``show``, ``history`` and more: answers of the API, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

import typer
from rich.text import Text

from .options import Listing, Operations, Reading, Remote, Which, command
from .output import (
    history_table,
    inspection_view,
    instance_view,
    instances_table,
    operations_table,
    overdue_table,
    print_list,
    print_out,
    questions_table,
    queues_table,
)
from .pages import gather
from .paths import instance_path
from .remote import request

__all__ = [
    "add_list",
    "add_operations",
    "history",
    "inspect",
    "list_instances",
    "overdue",
    "questions",
    "queues",
    "show",
]


def add_list(app: typer.Typer) -> None:
    """Adds the command."""

    @command(app, "list")
    def list_command(*, which: Which, listing: Listing, remote: Remote, reading: Reading) -> None:
        """List instances, newest start first. All given conditions hold."""
        list_instances(remote, which, listing, as_json=reading.as_json)


def list_instances(remote: Remote, which: Which, listing: Listing, *, as_json: bool) -> None:
    """Prints instances, page by page up to the limit; or how many there are.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    if listing.count:
        _, counted = request(remote, "GET", "/v1/instances/count", query=which.given())
        more = "" if counted["exact"] else "more than "
        typer.echo(json.dumps(counted) if as_json else f"{more}{counted['count']:,}")
        return
    filters = {**which.given(), "sort": listing.sort}
    found, cursor = gather(remote, "/v1/instances", "instances", listing.limit, filters=filters)
    if as_json:
        typer.echo(json.dumps({"instances": found, "cursor": cursor}))
    elif not found:
        typer.echo("no instances match")
    else:
        print_list(instances_table(found), cursor)


def add_operations(app: typer.Typer) -> None:
    """Adds the command."""

    @command(app, "operations")
    def operations_command(*, which: Operations, remote: Remote, reading: Reading) -> None:
        """List who asked for what, when and why, and how it was decided, newest first."""
        found, cursor = gather(remote, "/v1/operations", "operations", which.limit, filters=which.given())
        if reading.as_json:
            typer.echo(json.dumps({"operations": found, "cursor": cursor}))
        elif not found:
            typer.echo("no operations match")
        else:
            print_list(operations_table(found), cursor)


def show(remote: Remote, instance: str, *, state: bool, as_json: bool) -> None:
    """Prints one instance, on request with its state.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, document = request(remote, "GET", instance_path(instance))
    if as_json:
        typer.echo(json.dumps(document))
    else:
        print_out(instance_view(document))
        if state:
            print_out(Text(json.dumps(document["state"], indent=2, ensure_ascii=False)))


def inspect(remote: Remote, instance: str, *, as_json: bool) -> None:
    """Prints what an operator must know about an instance.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", f"{instance_path(instance)}/inspection")
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_out(inspection_view(found))


def overdue(remote: Remote, definition: str | None, *, limit: int, as_json: bool) -> None:
    """Prints the overdue steps.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, cursor = gather(remote, "/v1/overdue", "overdue", limit, filters={"definition": definition})
    if as_json:
        typer.echo(json.dumps({"overdue": found, "cursor": cursor}))
    elif not found:
        typer.echo("nothing is overdue")
    else:
        print_list(overdue_table(found), cursor)


def queues(remote: Remote, *, as_json: bool) -> None:
    """Prints all queues: what waits, who reads, and why.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", "/v1/queues")
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["queues"]:
        typer.echo("there are no queues: no deployed definition sends commands, and no worker runs")
    else:
        print_out(queues_table(found["queues"]))


def questions(remote: Remote, filters: Mapping[str, str | None], *, limit: int, as_json: bool) -> None:
    """Prints the questions that wait for a person.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, cursor = gather(remote, "/v1/questions", "questions", limit, filters=filters)
    if as_json:
        typer.echo(json.dumps({"questions": found, "cursor": cursor}))
    elif not found:
        typer.echo("no questions are open")
    else:
        print_list(questions_table(found), cursor)


def history(remote: Remote, instance: str, *, limit: int, as_json: bool) -> None:
    """Prints the decisions about one instance, oldest first.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    path = f"{instance_path(instance)}/history"
    rows, following = gather(remote, path, "decisions", limit, marks=("after", "next"))
    if as_json:
        typer.echo(json.dumps({"instance": instance, "decisions": rows, "next": following}))
    else:
        print_list(history_table(instance, rows), following)
