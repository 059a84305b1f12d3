"""The commands and options of ``hooks``; see ``app.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import HookMapping, Reading, Remote, Signed, command
from .registered_commands import Kind, add_act, add_secrets

__all__ = ["add_hook_commands"]

hooks_app = typer.Typer(
    help="Hooks, where others deliver events: register, show, rotate, secret, delete.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="HOOK", help="Name of the hook, which ends its URL.")]
Option = typer.Option
_HOOK = Kind("hook", Name, "hooks")


def add_hook_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(hooks_app, name="hooks")


@command(hooks_app, "list")
def hooks_list(*, remote: Remote, reading: Reading) -> None:
    """List the hooks: how they are signed, and what events they publish."""
    from .hooks import list_hooks

    list_hooks(remote, as_json=reading.as_json)


@command(hooks_app, "put")
def hooks_put(
    *,
    hook: Name,
    remote: Remote,
    reading: Reading,
    signed: Signed,
    key_at: Annotated[str, Option("--key-at", metavar="POINTER", help="Where the body has the key, as /data/order.")],
    event: Annotated[
        list[str], Option("--event", metavar="[TYPE=]NAME", help="The event; with --type-at the one of a type; repeat.")
    ],
    mapping: HookMapping,
) -> None:
    """Register a hook and print its secret, or replace all but its secret."""
    from .errors import Mistake
    from .hooks import pairs
    from .registered import put

    if len(event) > 1 and not mapping.type_at:
        raise Mistake("there is more than one --event; say where the type is by --type-at, or give one")
    body = {
        "scheme": mapping.scheme,
        "event": "" if mapping.type_at else event[0],
        "events": pairs(event, "--event") if mapping.type_at else {},
        "type_at": mapping.type_at,
        "key_at": key_at,
        "id_at": mapping.id_at,
        "body_at": mapping.body_at,
        "fields": pairs(mapping.field, "--field"),
        "header": mapping.header,
    }
    put(remote, "hooks", hook, body, signed=signed, as_json=reading.as_json)


add_secrets(hooks_app, _HOOK, side="sender")
add_act(hooks_app, _HOOK, "delete", "Delete a hook; its deliveries are refused from then on.")
