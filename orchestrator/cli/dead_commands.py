"""The commands and options of dead letters; see ``app.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..messages.dead import DeadAct
from .options import DeadWhere, Edited, Reading, Remote, Signed, command

__all__ = ["add_dead_commands"]

dead_app = typer.Typer(help="Dead letters: list, show, edit, redrive, discard.")

Letter = Annotated[str, typer.Argument(metavar="ID", help="The letter, as `list` shows it.")]
Letters = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Letters, as `list` shows them; none: all that match.")
]
Everything = Annotated[bool, typer.Option("--all", help="All that are open; needed if nothing else selects.")]
Apply = Annotated[bool, typer.Option("--apply", help="Act on all that match; without this it is a dry run.")]
Rate = Annotated[
    float | None, typer.Option(metavar="N", min=0.1, max=10_000, help="At most this many letters per second.")
]


@command(dead_app, "list")
def dead_list(
    *,
    where: DeadWhere,
    remote: Remote,
    reading: Reading,
    groups: Annotated[bool, typer.Option("--groups", help="By failure: how many, first and last seen.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 200,
) -> None:
    """List dead letters, newest first."""
    from .dead import list_groups, list_letters

    (list_groups if groups else list_letters)(remote, where, limit=limit, as_json=reading.as_json)


@command(dead_app, "show")
def dead_show(*, letter: Letter, remote: Remote, reading: Reading) -> None:
    """Show a dead letter: its record, why it is dead, and what was done with it."""
    from .dead import show

    show(remote, letter, as_json=reading.as_json)


@command(dead_app, "edit")
def dead_edit(*, letter: Letter, remote: Remote, reading: Reading, edited: Edited, signed: Signed) -> None:
    """Replace the value or the headers that are redriven; the history keeps both."""
    from .dead import dead_path
    from .parcels import ask, edit

    ask(remote, dead_path(letter), "edit", signed=signed, as_json=reading.as_json, more=edit(edited))


@command(dead_app, "redrive")
def dead_redrive(
    *,
    letters: Letters = None,
    where: DeadWhere,
    remote: Remote,
    reading: Reading,
    signed: Signed,
    everything: Everything = False,
    apply: Apply = False,
    rate: Rate = None,
) -> None:
    """Put the originals back where they were, each once. By filter it is a dry run without --apply."""
    from .dead import act_on, chosen

    selected = chosen(letters, where, everything=everything, apply=apply, rate=rate)
    act_on(remote, DeadAct.REDRIVE, selected, signed=signed, as_json=reading.as_json)


@command(dead_app, "discard")
def dead_discard(
    *,
    letters: Letters = None,
    where: DeadWhere,
    remote: Remote,
    reading: Reading,
    signed: Signed,
    everything: Everything = False,
    apply: Apply = False,
    rate: Rate = None,
) -> None:
    """Close dead letters without a redrive. By filter it is a dry run without --apply."""
    from .dead import act_on, chosen

    selected = chosen(letters, where, everything=everything, apply=apply, rate=rate)
    act_on(remote, DeadAct.DISCARD, selected, signed=signed, as_json=reading.as_json)


def add_dead_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(dead_app, name="dead", no_args_is_help=True)
