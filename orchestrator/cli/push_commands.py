"""The commands and options of ``push``; see ``app.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Reading, Remote, Signed, command
from .registered_commands import Kind, add_act

__all__ = ["add_push_commands"]

push_app = typer.Typer(
    help="Push messages to browsers: make a key, subscriptions: list, add, test, delete.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="Name of the subscription, as `list` shows it.")]
_SUBSCRIPTION = Kind("push subscription", Name, path="push/subscriptions")


def add_push_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(push_app, name="push")


@command(push_app, "key")
def push_key(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, for you alone, instead of printing.")
    ] = None,
) -> None:
    """Make a key for push messages. A new key ends all subscriptions made with another one."""
    from .push import make_key

    make_key(out)


@command(push_app, "list")
def push_list(*, remote: Remote, reading: Reading) -> None:
    """List the browsers that are subscribed: yours, for an administrator all."""
    from .push import list_subscriptions

    list_subscriptions(remote, as_json=reading.as_json)


@command(push_app, "add")
def push_add(
    *,
    subscription: Annotated[
        str, typer.Argument(metavar="JSON|@FILE|-", help="What PushSubscription.toJSON() gives in the browser.")
    ],
    remote: Remote,
    reading: Reading,
    signed: Signed,
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type, as attention; repeat.")
    ] = None,
    definition: Annotated[
        list[str] | None, typer.Option("--definition", metavar="NAME", help="Only of this definition; repeat.")
    ] = None,
) -> None:
    """Subscribe a browser, or replace its conditions."""
    from .push import add

    more = {name: each for name, each in (("types", type_), ("definitions", definition)) if each}
    add(remote, subscription, more, signed=signed, as_json=reading.as_json)


add_act(push_app, _SUBSCRIPTION, "test", "Send a message to a browser, to see whether messages arrive.")
add_act(push_app, _SUBSCRIPTION, "delete", "Delete a subscription; what waits for it is not sent any more.")
