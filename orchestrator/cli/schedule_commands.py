"""The commands and options of ``schedules``; see ``app.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Planned, Reading, Remote, Signed, command

__all__ = ["add_schedule_commands"]

schedules_app = typer.Typer(help="Schedules: put, show, pause, resume, trigger, backfill, delete.")

Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Name of the schedule.")]
Time = "ISO 8601 with a time zone, such as 2026-01-01T00:00:00Z; included."


@command(schedules_app, "list")
def schedules_list(
    *,
    remote: Remote,
    reading: Reading,
    paused: Annotated[bool, typer.Option("--paused", help="Only those that are paused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 200,
) -> None:
    """List the schedules: what they start, when next, and the outcome of the last start."""
    from .schedules import list_schedules

    list_schedules(remote, paused=paused, limit=limit, as_json=reading.as_json)


@command(schedules_app, "show")
def schedules_show(*, schedule: Name, remote: Remote, reading: Reading) -> None:
    """Show a schedule, its next five due times, and its last ten starts with their outcomes."""
    from .schedules import show

    show(remote, schedule, as_json=reading.as_json)


@command(schedules_app, "apply")
def schedules_apply(
    *,
    schedules: Annotated[list[str], typer.Argument(metavar="MODULE:SCHEDULE", help="Schedules, or lists of them.")],
    remote: Remote,
    reading: Reading,
    signed: Signed,
) -> None:
    """Put schedules that are declared in code; a step of a deployment. Those in effect already are unchanged."""
    from .schedules import apply

    apply(remote, schedules, signed=signed, as_json=reading.as_json)


@command(schedules_app, "put")
def schedules_put(*, schedule: Name, planned: Planned, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Create a schedule from options, or replace what it does."""
    from .schedules import put

    put(remote, schedule, planned, signed=signed, as_json=reading.as_json)


@command(schedules_app, "pause")
def schedules_pause(*, schedule: Name, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Pause a schedule: due times that pass meanwhile start nothing."""
    from .schedules import ask

    ask(remote, schedule, "pause", signed=signed, as_json=reading.as_json)


@command(schedules_app, "resume")
def schedules_resume(*, schedule: Name, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Resume a paused schedule with the next due time from now on."""
    from .schedules import ask

    ask(remote, schedule, "resume", signed=signed, as_json=reading.as_json)


@command(schedules_app, "trigger")
def schedules_trigger(*, schedule: Name, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Start one instance now, besides the due times."""
    from .schedules import ask

    ask(remote, schedule, "trigger", signed=signed, as_json=reading.as_json)


@command(schedules_app, "backfill")
def schedules_backfill(
    *,
    schedule: Name,
    since: Annotated[str, typer.Option(metavar="TIME", help=Time)],
    until: Annotated[str, typer.Option(metavar="TIME", help=f"Not in the future. {Time}")],
    remote: Remote,
    reading: Reading,
    signed: Signed,
) -> None:
    """Start an instance for each due time of a past period; those that still have theirs are not started again."""
    from .schedules import ask

    more = {"since": since, "until": until}
    ask(remote, schedule, "backfill", signed=signed, as_json=reading.as_json, more=more)


@command(schedules_app, "delete")
def schedules_delete(*, schedule: Name, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Delete a schedule; what it has started goes on."""
    from .schedules import ask

    ask(remote, schedule, "delete", signed=signed, as_json=reading.as_json)


def add_schedule_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(schedules_app, name="schedules", no_args_is_help=True)
