"""What the commands of webhooks, hooks and push subscriptions share: all are named things that the API keeps."""

from __future__ import annotations

import json

import typer

from .options import Remote, Signed
from .paths import segment
from .remote import Json, request
from .users import signature

__all__ = ["ask", "put"]


def put(remote: Remote, kind: str, name: str, body: Json, *, signed: Signed, as_json: bool) -> None:
    """Registers one and prints its secret, or replaces it. ``kind``: in the path, such as ``webhooks``.

    Raises:
        Failure: the API rejected it; the message says why.
        Unreachable: the API does not answer.
    """
    status, answer = request(remote, "PUT", _path(kind, name), body={**body, **signature(remote, signed)})
    _print(kind, name, "put", status, answer, as_json=as_json)


def ask(
    remote: Remote, kind: str, name: str, act: str, *, signed: Signed, as_json: bool, more: Json | None = None
) -> None:
    """Sends a request and prints its result. ``act``: a path of it, or ``delete``.

    Raises:
        Failure, Unreachable: as ``put``.
    """
    path = _path(kind, name)
    method, path = ("DELETE", path) if act == "delete" else ("POST", f"{path}/{act}")
    status, answer = request(remote, method, path, body={**signature(remote, signed), **(more or {})})
    _print(kind, name, act, status, answer, as_json=as_json)


def _print(kind: str, name: str, act: str, status: int, answer: Json, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        group = kind.partition("/")[0]
        typer.echo(f"{act} {name} is accepted but not decided yet; check with: saga {group} list")
    else:
        typer.echo(f"{act} {name}: done")
        if answer.get("secret") is not None:
            typer.echo(f"its secret, for the {'receiver' if kind == 'webhooks' else 'sender'}: {answer['secret']}")


def _path(kind: str, name: str) -> str:
    return f"/v1/{kind}/{segment(name)}"
