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


def _add(name: str, text: str, *, create: bool) -> None:
    def topics_command(
        *,
        log: LogOptions,
        sagas: Annotated[
            list[str] | None, typer.Argument(metavar="MODULE:NAME", help="Sagas and workers: their queues and groups.")
        ] = None,
        queue: Annotated[list[str] | None, typer.Option("--queue", help="A queue by name; repeatable.")] = None,
        webhooks: Annotated[
            bool, typer.Option("--webhooks", help="Also those that `saga webhooks serve` needs.")
        ] = False,
        reading: Reading,
    ) -> None:
        from .topics import Wanted, topics

        wanted = Wanted(sagas or [], queue or [], webhooks)
        topics(build_settings(log), wanted, create=create, as_json=reading.as_json)

    topics_command.__doc__ = text
    command(topics_app, name)(topics_command)


_add("create", "Create missing topics, and check all topics.", create=True)
_add("check", "Check that every topic exists and is configured correctly.", create=False)


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
