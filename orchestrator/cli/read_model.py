"""``saga read-model``: operates the database that answers queries."""

from __future__ import annotations

import asyncio
import json

import typer

from .options import LogOptions, Reading, build_settings, command

__all__ = ["add_read_model"]

read_model_app = typer.Typer(help="Operate the read model, which answers queries.", no_args_is_help=True)


def add_read_model(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(read_model_app, name="read-model")


@command(read_model_app, "clear")
def clear_command(*, log: LogOptions, reading: Reading) -> None:
    """Empty the read model of one namespace. The API rebuilds it from the log, and is not ready until then."""
    from .. import wiring

    settings = build_settings(log)
    asyncio.run(wiring.clear_read_model(settings))
    if reading.as_json:
        typer.echo(json.dumps({"namespace": settings.namespace, "cleared": True}))
    else:
        typer.echo(
            f"the read model of namespace {settings.namespace} is empty; a running API rebuilds it from the "
            "log, others do so when they start"
        )
