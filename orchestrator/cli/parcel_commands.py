"""The commands and options of parcels: ``parked`` and ``delayed``; see ``app.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Edited, Reading, Remote, Signed, command

__all__ = ["add_parcel_commands"]

parked_app = typer.Typer(help="Keys whose messages wait for an operator: show, redrive, edit, skip, discard.")
delayed_app = typer.Typer(help="Delayed messages: show, reschedule, edit, cancel.")

InGroup = Annotated[str, typer.Argument(metavar="GROUP", help="The group that handles the messages.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key, or its name as `list` shows it.")]
Message = Annotated[str, typer.Argument(metavar="MESSAGE", help="Id of the message, or its name as `list` shows it.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")]
Letter = Annotated[str, typer.Option(help="Id of the letter, as `show` prints it.")]


@command(parked_app, "list")
def parked_list(
    *,
    remote: Remote,
    reading: Reading,
    group: Annotated[str | None, typer.Option(help="Only of this group.")] = None,
    retrying: Annotated[bool, typer.Option("--retrying", help="Those that are retried instead.")] = False,
    limit: Limit = 200,
) -> None:
    """List the keys that are parked."""
    from .parcels import list_parked

    list_parked(remote, group, retrying=retrying, limit=limit, as_json=reading.as_json)


@command(parked_app, "show")
def parked_show(*, group: InGroup, key: Key, remote: Remote, reading: Reading) -> None:
    """Show why a key is parked, and its messages in order."""
    from .parcels import parked_path, show

    show(remote, parked_path(group, key), as_json=reading.as_json)


@command(parked_app, "redrive")
def parked_redrive(*, group: InGroup, key: Key, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Deliver the first message of a key now, with all its attempts; then those that follow it."""
    from .parcels import ask, parked_path

    ask(remote, parked_path(group, key), "redrive", signed=signed, as_json=reading.as_json)


@command(parked_app, "skip")
def parked_skip(
    *,
    group: InGroup,
    key: Key,
    remote: Remote,
    reading: Reading,
    signed: Signed,
    letter: Annotated[str, typer.Option(help="Denied unless this is the first; default: whichever it is.")] = "",
) -> None:
    """Make the first message of a key a dead letter and go on with the next."""
    from .parcels import ask, parked_path

    path, more = parked_path(group, key), {"letter": letter}
    ask(remote, path, "skip", signed=signed, as_json=reading.as_json, more=more)


@command(parked_app, "edit")
def parked_edit(
    *,
    group: InGroup,
    key: Key,
    letter: Letter,
    remote: Remote,
    reading: Reading,
    edited: Edited,
    signed: Signed,
) -> None:
    """Replace the value or the headers of a message of a parked key."""
    from .parcels import ask, edit, parked_path

    more = {"letter": letter, **edit(edited)}
    ask(remote, parked_path(group, key), "edit", signed=signed, as_json=reading.as_json, more=more)


@command(parked_app, "discard")
def parked_discard(*, group: InGroup, key: Key, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Make all messages of a key dead letters and release it."""
    from .parcels import ask, parked_path

    ask(remote, parked_path(group, key), "discard", signed=signed, as_json=reading.as_json)


@command(delayed_app, "list")
def delayed_list(*, remote: Remote, reading: Reading, limit: Limit = 200) -> None:
    """List the delayed messages."""
    from .parcels import list_delayed

    list_delayed(remote, limit=limit, as_json=reading.as_json)


@command(delayed_app, "show")
def delayed_show(*, message: Message, remote: Remote, reading: Reading) -> None:
    """Show a delayed message."""
    from .parcels import delayed_path, show

    show(remote, delayed_path(message), as_json=reading.as_json)


@command(delayed_app, "reschedule")
def delayed_reschedule(
    *,
    message: Message,
    at: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601 with a time zone; in the past: now.")],
    remote: Remote,
    reading: Reading,
    signed: Signed,
) -> None:
    """Give a delayed message another time."""
    from .parcels import ask, delayed_path

    path, more = delayed_path(message), {"at": at}
    ask(remote, path, "reschedule", signed=signed, as_json=reading.as_json, more=more)


@command(delayed_app, "edit")
def delayed_edit(
    *,
    message: Message,
    letter: Letter,
    remote: Remote,
    reading: Reading,
    edited: Edited,
    signed: Signed,
) -> None:
    """Replace the value or the headers of a delayed message."""
    from .parcels import ask, delayed_path, edit

    more = {"letter": letter, **edit(edited)}
    ask(remote, delayed_path(message), "edit", signed=signed, as_json=reading.as_json, more=more)


@command(delayed_app, "cancel")
def delayed_cancel(*, message: Message, remote: Remote, reading: Reading, signed: Signed) -> None:
    """Cancel a delayed message: it is not sent; the history keeps it."""
    from .parcels import ask, delayed_path

    ask(remote, delayed_path(message), "cancel", signed=signed, as_json=reading.as_json)


def add_parcel_commands(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(parked_app, name="parked", no_args_is_help=True)
    app.add_typer(delayed_app, name="delayed", no_args_is_help=True)
