"""``saga list``, ``show`` and ``history``: what the API knows, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

import typer

from .options import Remote
from .pages import gather
from .paths import instance_path
from .remote import request
from .tables import case_view, history_table, instance_view, instances_table, overdue_table, print_out, questions_table

__all__ = ["case", "history", "list_instances", "overdue", "questions", "show"]


def list_instances(remote: Remote, filters: Mapping[str, str | None], *, limit: int, as_json: bool) -> None:
    """Prints the newest instances, page by page up to the limit.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, cursor = gather(remote, "/v1/instances", "instances", limit, filters=filters)
    if as_json:
        typer.echo(json.dumps({"instances": found, "cursor": cursor}))
    elif not found:
        typer.echo("no such instances")
    else:
        more = "" if cursor is None else "there are more: give a greater --limit, or filter"
        print_out(instances_table(found, caption=more))


def show(remote: Remote, instance: str, *, as_json: bool) -> None:
    """Prints one instance.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, document = request(remote, "GET", instance_path(instance))
    if as_json:
        typer.echo(json.dumps(document))
    else:
        print_out(instance_view(document))


def case(remote: Remote, instance: str, *, as_json: bool) -> None:
    """Prints what an operator must know of an instance.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", f"{instance_path(instance)}/case")
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_out(case_view(found))


def overdue(remote: Remote, definition: str | None, *, limit: int, as_json: bool) -> None:
    """Prints the steps that were expected to be done by now.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", "/v1/overdue", query={"definition": definition, "limit": limit})
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["overdue"]:
        typer.echo("nothing is overdue")
    else:
        print_out(overdue_table(found["overdue"]))


def questions(remote: Remote, filters: Mapping[str, str | None], *, limit: int, as_json: bool) -> None:
    """Prints the questions that wait for a person.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", "/v1/questions", query={**filters, "limit": limit})
    if as_json:
        typer.echo(json.dumps(found))
    elif not found["questions"]:
        typer.echo("nobody is asked anything")
    else:
        print_out(questions_table(found["questions"]))


def history(remote: Remote, instance: str, *, limit: int, as_json: bool) -> None:
    """Prints the decisions about one instance, oldest first.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    path = f"{instance_path(instance)}/history"
    rows, _ = gather(remote, path, "decisions", limit, marks=("after", "next"))
    if as_json:
        typer.echo(json.dumps({"instance": instance, "decisions": rows}))
    else:
        print_out(history_table(instance, rows))
