"""``saga cancel``, ``pause``, ``retry``, ``answer`` …: an operator's act on one instance, or on a step of it."""

from __future__ import annotations

import json

import typer

from ..messages.inputs import ActName
from .options import Remote
from .paths import instance_path
from .remote import Json, request
from .users import user

__all__ = ["act"]

_PAST = {
    ActName.CANCEL: "is being undone",
    ActName.PAUSE: "is paused",
    ActName.RESUME: "continues",
    ActName.RETRY: "is retried",
    ActName.ABANDON: "is closed as it is",
    ActName.ANSWER: "is answered",
    ActName.CLAIM: "has its question claimed",
    ActName.ASSIGN: "has its question assigned",
    ActName.SKIP: "continues without that step",
    ActName.REVISE: "has its remaining stops revised",
    ActName.WAIVE: "had that loss accepted",
    ActName.EDIT: "has its state edited",
    ActName.REPLACE_UNDO: "retries the undo with another command",
    ActName.RESTART: "undoes its steps from there on, then runs them again",
    ActName.FORK: "is forked; the new instance was requested",
}


def act(
    remote: Remote,
    instance: str,
    name: ActName,
    *,
    reason: str,
    by: str | None,
    as_json: bool,
    more: Json | None = None,
) -> None:
    """Sends the act and prints its result. ``more``: for an act on one step, the step and the act's value.

    Raises:
        Failure: the API rejected the request; the message says why.
        Unreachable: the API does not answer.
    """
    body: Json = {"reason": reason, "by": user(remote, by), **(more or {})}
    status, answer = request(remote, "POST", f"{instance_path(instance)}/{name.value}", body=body)
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        typer.echo(f"{instance}: {name.value} is accepted but not decided yet; check with: saga show {instance}")
    else:
        news = _PAST[name] if answer["changed"] else "is unchanged: that was done before"
        typer.echo(f"{instance} {news}: {answer['status']}")
