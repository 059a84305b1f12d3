"""The commands and options of ``topics``; see ``app.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import By, LogOptions, Reading, build_settings, command

__all__ = ["add_topic_commands"]

topics_app = typer.Typer(help="Create or check the topics of a namespace.", no_args_is_help=True)

WithWebhooks = Annotated[bool, typer.Option("--webhooks", help="Also those that `saga webhooks serve` needs.")]


def add_topic_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(topics_app, name="topics")


@command(topics_app, "create")
def topics_create(
    *,
    log: LogOptions,
    sagas: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE:NAME", help="Sagas and workers: their queues and groups.")
    ] = None,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="A queue by name; repeatable.")] = None,
    webhooks: WithWebhooks = False,
    reading: Reading,
) -> None:
    """Create missing topics, and check all topics."""
    from .topics import Wanted, topics

    wanted = Wanted(sagas or [], queue or [], webhooks)
    topics(build_settings(log), wanted, create=True, as_json=reading.as_json)


@command(topics_app, "check")
def topics_check(
    *,
    log: LogOptions,
    sagas: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE:NAME", help="Sagas and workers: their queues and groups.")
    ] = None,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="A queue by name; repeatable.")] = None,
    webhooks: WithWebhooks = False,
    reading: Reading,
) -> None:
    """Check that every topic exists and is configured correctly."""
    from .topics import Wanted, topics

    wanted = Wanted(sagas or [], queue or [], webhooks)
    topics(build_settings(log), wanted, create=False, as_json=reading.as_json)


@command(topics_app, "step-over")
def topics_step_over(
    *,
    place: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="As shown in the log line.")],
    log: LogOptions,
    reason: Annotated[str, typer.Option(help="The reason; kept in the history of the partition.")],
    by: By = None,
) -> None:
    """Skip a batch that can never be read, so that its partition continues after it."""
    from .step_over import step_over

    step_over(build_settings(log), place, reason=reason, by=by)
