"""``saga outbox``: publishes what applications have put into the outbox of their own database."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from .options import LogOptions, build_settings, command

__all__ = ["add_outbox"]

outbox_app = typer.Typer(help="Publish what applications have put into their outbox.", no_args_is_help=True)


def add_outbox(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(outbox_app, name="outbox")


@command(outbox_app, "relay")
def relay_command(
    *,
    database: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="SAGALINE_DATABASE",
            help="sqlite:///path or postgresql://user@host/database; a password preferably in the environment.",
        ),
    ],
    log: LogOptions,
) -> None:
    """Publish the rows of an outbox, in order per key. Start any number of these processes: they share the keys."""
    from ..logs import configure_logs
    from .options import rendering
    from .processes import run_process

    settings = build_settings(log)
    configure_logs(rendering(settings, terminal=sys.stderr.isatty()), settings.log_level)

    async def relaying() -> None:
        from ...workers.sql import Relay
        from .. import wiring
        from ..adapters.read_model import shown
        from .processes import any_ended, workers_running

        async with AsyncExitStack() as stack:
            engine = wiring.engine_at(database)
            stack.callback(engine.dispose)
            base, _ = await stack.enter_async_context(wiring.open_service(settings, "sagaline-outbox"))
            relay = Relay(engine, base.log, clock=base.clock, metrics=base.metrics)
            parts = await stack.enter_async_context(workers_running([("outbox", relay)], grace_seconds=10.0))
            print(f"saga: relaying {shown(database)} to {settings.log}; Ctrl-C stops it", file=sys.stderr, flush=True)
            await any_ended(parts)

    run_process(relaying())
