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
    ActName.RESUME: "goes on",
    ActName.RETRY: "is tried again",
    ActName.ABANDON: "is closed as it is",
    ActName.ANSWER: "has its answer",
    ActName.CLAIM: "has its question claimed",
    ActName.ASSIGN: "has its question assigned",
    ActName.SKIP: "goes on without that step",
    ActName.REVISE: "has its way ahead revised",
    ActName.WAIVE: "has that loss accepted",
    ActName.EDIT: "has its state edited",
    ActName.REPLACE_UNDO: "tries the undo with another command",
    ActName.RESTART: "takes back what lies from there on, then begins it anew",
    ActName.FORK: "is forked; the new instance is told to start",
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
    """Asks for the act and says what came of it. ``more``: of an act on one step, its name and what the act brings.

    Raises:
        Failure: the API refused; the sentence says why.
        Unreachable: nobody answers.
    """
    body: Json = {"reason": reason, "by": by if by is not None else user(), **(more or {})}
    status, answer = request(remote, "POST", f"{instance_path(instance)}/{name.value}", body=body)
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        typer.echo(f"{instance}: {name.value} is accepted and not decided yet; look with: saga show {instance}")
    else:
        news = _PAST[name] if answer["changed"] else "stays as it is, that was so already"
        typer.echo(f"{instance} {news}: {answer['status']}")
