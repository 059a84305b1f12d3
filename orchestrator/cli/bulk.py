"""``saga bulk``, and ``saga dead redrive`` and ``discard`` of many: a dry run that shows the expected results; with
``--apply`` the act is then sent, page by page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..messages.inputs import ActName
from .errors import Failure
from .options import Asking, Many, Remote
from .output import print_out
from .remote import Json, request
from .spans import seconds
from .starting import read_input
from .users import user

__all__ = ["INSTANCES", "LETTERS", "Over", "bulk_body", "run_bulk"]

_PAGE = 50
_PAGES_MAX = 1_000_000
_REASONS_MAX = 20
_UNDECIDED = ("unsure", "failed")
_FELL_SHORT = ("denied", *_UNDECIDED)


class Over(NamedTuple):
    """What an act is sent to. ``path``: of the bulk; ``noun``: of many; ``field``: of a result that names one.

    ``again``: how to continue the bulk ``{id}``. ``ordered``: it ends after a page with a letter that is not decided or
    could not be sent, so that no later one of its key comes before it.
    """

    path: str
    noun: str
    field: str
    again: str
    ordered: bool = False


INSTANCES: Final = Over("/v1/bulk", "instances", "instance", "continue with --id {id}")
LETTERS: Final = Over(
    "/v1/dead/bulk", "dead letters", "id", "run it again: no letter is redriven or discarded twice", ordered=True
)


def bulk_body(remote: Remote, act: ActName, many: Many, asking: Asking) -> Json:
    """The request body: the act and the instances it is for.

    Raises:
        Mistake: an option is wrong.
    """
    body: Json = {
        "act": act.value,
        **many.given(),
        "older_than_seconds": seconds(many.older_than, "--older-than") if many.older_than is not None else None,
        "step": many.step,
        "on_step": asking.on,
        "value": read_input(asking.value, "--value") if asking.value is not None else None,
        "reason": asking.reason,
        "by": user(remote, asking.by),
        "limit": _PAGE,
    }
    return {name: value for name, value in body.items() if value is not None}


def run_bulk(remote: Remote, over: Over, body: Json, *, apply: bool, as_json: bool) -> None:
    """Does a dry run of the bulk, then with ``apply`` carries it out; prints the number of instances per result.

    Raises:
        Failure: some were denied or have failed; the message says how to continue.
        Unreachable: the API does not answer, as ``request``.
    """
    console = Console(stderr=True)
    rehearsed = _Report(over, _pages(remote, over, {**body, "dry_run": True}))
    rehearsed.gather(console, "looking at", None)
    if not apply or not rehearsed.asked:
        rehearsed.show(body, as_json=as_json, dry_run=True)
        return
    if not as_json:
        typer.echo(f"bulk {rehearsed.id}: if it is interrupted, {over.again.format(id=rehearsed.id)}", err=True)
    report = _Report(over, _pages(remote, over, {**body, "id": rehearsed.id, "dry_run": False}))
    report.gather(console, f"asking {body['act']}", len(rehearsed.asked))
    report.show(body, as_json=as_json, dry_run=False)
    short = sum(report.counts[fate] for fate in _FELL_SHORT)
    if short:
        stopped = f", and the {over.noun} after them were not sent" if report.is_cut else ""
        again = over.again.format(id=report.id)
        raise Failure(
            f"{short} of {len(report.asked)} were denied or have failed{stopped}; resolve the cause, then {again}"
        )


class _Report:
    """The results of all instances, gathered page by page."""

    def __init__(self, over: Over, pages: Iterator[Json]) -> None:
        self._over, self._pages = over, pages
        self.id = ""
        self.is_cut = False
        self.asked: list[Json] = []
        self.counts: Counter[str] = Counter()

    def gather(self, console: Console, what: str, total: int | None) -> None:
        """Fetches all pages, with a progress bar on a terminal. ``total`` None: not known yet."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            bar = progress.add_task(what, total=total)
            for page in self._pages:
                self.id, self.is_cut = page["id"], page["cursor"] is not None
                self.asked += page["asked"]
                self.counts.update(each["fate"] for each in page["asked"])
                progress.advance(bar, len(page["asked"]))

    def show(self, body: Json, *, as_json: bool, dry_run: bool) -> None:
        """Prints the results."""
        if as_json:
            told = {"id": self.id, "dry_run": dry_run, "counts": dict(self.counts), "asked": self.asked}
            typer.echo(json.dumps(told))
            return
        if not self.asked:
            typer.echo(f"no {self._over.noun} match; nothing to {body['act']}")
            return
        would = "would be " if dry_run else ""
        table = Table(title=Text(f"{body['act']} of {len(self.asked)}"), title_justify="left", box=SIMPLE_HEAD)
        table.add_column("outcome", no_wrap=True)
        table.add_column("how many", justify="right", no_wrap=True)
        table.add_column("why", overflow="fold")
        table.add_column("such as", overflow="fold")
        rows = Counter((each["fate"], each["code"]) for each in self.asked)
        for (fate, code), count in rows.most_common(_REASONS_MAX):
            first = next(each for each in self.asked if (each["fate"], each["code"]) == (fate, code))
            table.add_row(f"{would}{fate}", str(count), Text(first["reason"]), Text(first[self._over.field]))
        if len(rows) > _REASONS_MAX:
            table.add_row("", "", f"and {len(rows) - _REASONS_MAX} more reasons: use --json to see them", "")
        print_out(table)
        if dry_run:
            typer.echo("dry run: nothing was sent; send it with --apply")


def _pages(remote: Remote, over: Over, body: Json) -> Iterator[Json]:
    """The pages of the bulk; their number is bounded."""
    cursor: str | None = None
    for _ in range(_PAGES_MAX):
        given = {name: value for name, value in {**body, "cursor": cursor}.items() if value is not None}
        _, page = request(remote, "POST", over.path, body=given)
        body = {**body, "id": page["id"]}
        yield page
        cursor = page["cursor"]
        if cursor is None or (over.ordered and any(each["fate"] in _UNDECIDED for each in page["asked"])):
            return
