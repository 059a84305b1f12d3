"""The commands and options of ``webhooks``; see ``app.py``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import HealthOptions, LogOptions, Reading, Remote, Signed, build_settings, command
from .registered_commands import Kind, add_act, add_secrets

__all__ = ["add_webhook_commands"]

webhooks_app = typer.Typer(
    help="Webhooks: register, show, rotate, secret, replay, enable, delete; and deliver to them.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Name of the webhook.")]
_WEBHOOK = Kind("webhook", Name, "webhooks")


def add_webhook_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(webhooks_app, name="webhooks")


@command(webhooks_app, "list")
def webhooks_list(*, remote: Remote, reading: Reading) -> None:
    """List the webhooks: where events go, which, and whether they are disabled."""
    from .webhooks import list_webhooks

    list_webhooks(remote, as_json=reading.as_json)


@command(webhooks_app, "put")
def webhooks_put(
    *,
    webhook: Name,
    receiver: Annotated[str, typer.Argument(metavar="URL", help="https; every address of its host must be public.")],
    remote: Remote,
    reading: Reading,
    signed: Signed,
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type, as completed; repeat.")
    ] = None,
    definition: Annotated[
        list[str] | None, typer.Option("--definition", metavar="NAME", help="Only of this definition; repeat.")
    ] = None,
) -> None:
    """Register a webhook and print its secret, or replace its URL and conditions."""
    from .registered import put

    body = {"url": receiver, "types": type_ or [], "definitions": definition or []}
    put(remote, "webhooks", webhook, body, signed=signed, as_json=reading.as_json)


add_secrets(webhooks_app, _WEBHOOK, side="receiver")


@command(webhooks_app, "replay")
def webhooks_replay(
    *,
    webhook: Name,
    remote: Remote,
    reading: Reading,
    signed: Signed,
    after: Annotated[str, typer.Option(metavar="CURSOR", help="A cursor of GET /v1/events, or earliest.")],
) -> None:
    """Send the events after a cursor again, at most 1,000 at a time."""
    from .webhooks import replay

    replay(remote, webhook, after, signed=signed, as_json=reading.as_json)


add_act(
    webhooks_app, _WEBHOOK, "enable", "Send again to a webhook that was disabled because its receiver answered 410."
)
add_act(webhooks_app, _WEBHOOK, "delete", "Delete a webhook; what waits for it is not sent any more.")


@command(webhooks_app, "serve")
def webhooks_serve(*, log: LogOptions, health: HealthOptions) -> None:
    """Deliver events to the webhooks. Start any number of these processes: they share the instances."""
    from ..logs import configure_logs
    from .options import rendering
    from .processes import run_process
    from .webhooks import serving

    settings = build_settings(log, health)
    configure_logs(rendering(settings, terminal=sys.stderr.isatty()), settings.log_level)
    run_process(serving(settings))
