"""``saga rules``: shows and changes the tables of dynamic routers."""

from __future__ import annotations

import json

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .errors import Mistake
from .options import Remote
from .output import grid, moment, print_list, print_out
from .pages import gather
from .paths import segment
from .remote import Json, request
from .starting import read_json
from .users import user

__all__ = ["list_rules", "rules_history", "set_rules", "show_rules"]

_TABLES_MAX = 100_000
_EXAMPLE = '[{"when": {"total": {">": 100}}, "to": "fast"}, {"when": {}, "to": "slow"}]'


def list_rules(remote: Remote, *, as_json: bool) -> None:
    """Prints every table that a deployed definition routes by, and the limits of queues if they were ever set.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, _ = gather(remote, "/v1/tables", "tables", _TABLES_MAX)
    if as_json:
        typer.echo(json.dumps({"tables": found}))
    elif not found:
        typer.echo("no deployed definition routes by a table")
    else:
        table = grid("table", "version", "rules", "branches", "changed", "by", "why")
        for each in found:
            facts = (each["name"], str(each["version"]), str(len(each["rules"])), ", ".join(each["branches"]))
            table.add_row(*map(Text, (*facts, moment(each["changed_at"]), each["changed_by"], each["reason"])))
        print_out(table)


def show_rules(remote: Remote, name: str, *, as_json: bool) -> None:
    """Prints the rules of a table in order. The JSON output can be edited and set again.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", _path(name))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_out(_rules_view(found))


def set_rules(
    remote: Remote, name: str, *, file: str, version: int | None, reason: str, by: str | None, as_json: bool
) -> None:
    """Replaces the rules of a table by those of a file: a list of rules, or the output of ``saga rules show --json``,
    whose version is then the version to replace.

    Raises:
        Mistake: the file contains no rules.
        Failure: the API rejected the rules; the message says why.
        Unreachable: the API does not answer.
    """
    given, where = read_json(file if file == "-" else f"@{file}", "--file", "a list of rules")
    rules = given.get("rules") if isinstance(given, dict) else given
    if not isinstance(rules, list):
        raise Mistake(f"{where} contains no rules; give a list such as {_EXAMPLE}")
    if version is None and isinstance(given, dict) and isinstance(given.get("version"), int):
        version = given["version"]
    body: Json = {"rules": rules, "version": version, "reason": reason, "by": user(remote, by)}
    status, answer = request(remote, "PUT", _path(name), body=body)
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        typer.echo(f"{name}: the rules are accepted but not decided yet; check with: saga rules show {name}")
    else:
        news = "has new rules" if answer["changed"] else "is unchanged: it has these rules already"
        typer.echo(f"{name} {news}: version {answer['version']}")


def rules_history(remote: Remote, name: str, *, limit: int, as_json: bool) -> None:
    """Prints who changed a table when and why, oldest first.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    found, following = gather(remote, f"{_path(name)}/history", "changes", limit, marks=("after", "next"))
    if as_json:
        typer.echo(json.dumps({"name": name, "changes": found, "next": following}))
    elif not found:
        typer.echo(f"the rules of {name} were never set")
    else:
        print_list(_changes_table(found), following)


def _path(name: str) -> str:
    return f"/v1/tables/{segment(name)}"


def _rules_view(found: Json) -> RenderableType:
    branches = [Text(f"branches: {', '.join(found['branches'])}")] if found["branches"] else []
    if not found["version"]:
        effect = "every router uses its otherwise branch" if branches else "nothing is limited"
        head = f"{found['name']} was never set: {effect}"
    else:
        changed, by = moment(found["changed_at"]), found["changed_by"] or "unknown"
        why = f": {found['reason']}" if found["reason"] else ""
        head = f"{found['name']} version {found['version']}, changed {changed} by {by}{why}"
    return Group(Text(head), *branches, _rules_table(found["rules"]))


def _rules_table(rules: list[Json]) -> Table:
    table = grid("rule", "when", "to")
    for number, rule in enumerate(rules, start=1):
        conditions = [f"{fact} {_condition(wanted)}" for fact, wanted in rule["when"].items()]
        table.add_row(str(number), Text(" and ".join(conditions) or "always"), Text(rule["to"]))
    return table


def _condition(wanted: object) -> str:
    operator, value = next(iter(wanted.items())) if isinstance(wanted, dict) else ("==", wanted)
    return f"{operator} {json.dumps(value, ensure_ascii=False)}"


def _changes_table(changes: list[Json]) -> Table:
    table = grid("version", "at", "by", "why", "rules", "outcome")
    for each in changes:
        count = "?" if each["rules"] is None else str(len(each["rules"]))
        facts = (str(each["version"]), moment(each["at"]), each["by"], each["reason"], count)
        table.add_row(*map(Text, (*facts, f"{each['outcome']}: {each['answer']}")))
    return table
