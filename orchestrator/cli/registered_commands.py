"""The commands that every kind of registered thing has, such as webhooks and hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from .options import Reading, Remote, Signed, command

__all__ = ["Kind", "add_act", "add_secrets"]

_Command = Callable[..., None]


class Kind(NamedTuple):
    """``noun``: one of them, such as webhook. ``name``: the argument that names it. ``path``: below ``/v1``."""

    noun: str
    name: Any
    path: str


def add_secrets(app: typer.Typer, kind: Kind, *, side: str) -> None:
    """Adds ``rotate`` and ``secret``. ``side``: who has the secret."""

    @_command(app, kind, "rotate", f"Give a {kind.noun} a new secret and print it.")
    def rotate(
        *,
        name: str,
        remote: Remote,
        reading: Reading,
        signed: Signed,
        overlap: Annotated[str, typer.Option(help="How long the secret before counts too, such as 24h.")] = "24h",
    ) -> None:
        from .registered import ask
        from .spans import seconds

        more = {"overlap_seconds": seconds(overlap, "--overlap")}
        ask(remote, kind.path, name, "rotate", signed=signed, as_json=reading.as_json, more=more)

    add_act(app, kind, "secret", f"Print the secret of a {kind.noun}, for its {side}. Who has asked is recorded.")


def add_act(app: typer.Typer, kind: Kind, act: str, text: str) -> None:
    """Adds an act without options of its own. ``text``: its help."""

    @_command(app, kind, act, text)
    def perform(*, name: str, remote: Remote, reading: Reading, signed: Signed) -> None:
        from .registered import ask

        ask(remote, kind.path, name, act, signed=signed, as_json=reading.as_json)


def _command(app: typer.Typer, kind: Kind, act: str, text: str) -> Callable[[_Command], _Command]:
    """As ``command``, of what differs by kind: the help, and the argument that names the thing."""

    def register(function: _Command) -> _Command:
        function.__doc__ = text
        function.__annotations__["name"] = kind.name
        return command(app, act)(function)

    return register
