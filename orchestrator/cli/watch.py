"""``saga watch``: what happens to instances, as it happens. It continues from its cursor when the API was away."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.text import Text

from .errors import Unreachable
from .options import Reading, Remote, command
from .output import STYLES, moment, print_out
from .remote import Json, request

__all__ = ["add_watch", "watch"]

_WAIT_SECONDS = 20
_AGAIN_SECONDS = 1.0
_ENDED = ("completed", "compensated", "abandoned", None)


def add_watch(app: typer.Typer) -> None:
    """Adds the command."""

    @command(app, "watch")
    def watch_command(
        *,
        instance: Annotated[
            str | None, typer.Argument(metavar="INSTANCE", help="definition/key; none: every instance.")
        ] = None,
        definition: Annotated[list[str] | None, typer.Option(help="Only of this definition; may be repeated.")] = None,
        kind: Annotated[
            list[str] | None,
            typer.Option("--type", metavar="TYPE", help="Only this type, e.g. attention; may be repeated."),
        ] = None,
        after: Annotated[
            str | None, typer.Option(metavar="CURSOR", help="From this cursor, or `earliest`; none: from now on.")
        ] = None,
        remote: Remote,
        reading: Reading,
    ) -> None:
        """Print what happens to instances, as it happens; of one instance until it ends."""
        where = {"instance": instance, "definition": definition or None, "type": kind or None}
        watch(remote, where, after=after, until_end=instance is not None, as_json=reading.as_json)


def watch(
    remote: Remote, where: dict[str, str | list[str] | None], *, after: str | None, until_end: bool, as_json: bool
) -> None:
    """Prints events until it is interrupted, or with ``until_end`` until one says that the instance has ended.

    Raises:
        Failure: as ``request``.
        Unreachable: the first request does not reach the API.
    """
    _, page = request(remote, "GET", "/v1/events", query={**where, "after": after})
    while True:
        for event in page["events"]:
            _print(event, as_json=as_json)
            if until_end and event["data"]["status"] in _ENDED:
                return
        query = {**where, "after": page["cursor"], "wait": 0 if page["more"] else _WAIT_SECONDS}
        page = _next(remote, query)


def _next(remote: Remote, query: dict[str, object]) -> Json:
    told = False
    while True:
        try:
            return request(remote, "GET", "/v1/events", query=query)[1]
        except Unreachable as error:
            if not told:
                typer.echo(f"{error}; it is tried again, and nothing is missed (Ctrl-C stops it)", err=True)
            told = True
            time.sleep(_AGAIN_SECONDS)


def _print(event: Json, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(event))
        return
    data, kind = event["data"], event["type"].rpartition(".")[2]
    line = Text(moment(event["time"]))
    line.append(f"  {kind:<12}", style=STYLES.get(kind, ""))
    line.append(f"  {event['subject']}")
    for text in (data["by"] and f"by {data['by']}", data["code"], data["reason"]):
        if text:
            line.append(f"  {text}", style="dim")
    print_out(line)
