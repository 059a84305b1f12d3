"""``saga cancel``, ``pause``, ``retry``, ``answer`` …: an operator's act on one instance, or on a step of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import typer

from ..messages.inputs import ActName
from .errors import Failure
from .options import By, Remote
from .paths import instance_path
from .remote import Json, request, tagged
from .users import user

__all__ = ["Acting", "act"]

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


@dataclass(frozen=True, slots=True)
class Acting:
    """Who sends an act, why, and what it may depend on."""

    reason: Annotated[str, typer.Option(help="The reason; kept in the history.")] = ""
    by: By = None
    expected_revision: Annotated[
        int | None, typer.Option(min=1, help="Only if the instance is still at this revision, as `saga show` shows it.")
    ] = None


def act(
    remote: Remote, instance: str, name: ActName, acting: Acting, *, as_json: bool, more: Json | None = None
) -> None:
    """Sends the act and prints its result. ``more``: for an act on one step, the step and the act's value.

    Raises:
        Failure: the API rejected the request, or the instance is at another revision; the message says why.
        Unreachable: the API does not answer.
    """
    body: Json = {"reason": acting.reason, "by": user(remote, acting.by), **(more or {})}
    path, tag = instance_path(instance), None
    if acting.expected_revision is not None:
        tag, now = tagged(remote, path)
        if now["revision"] != acting.expected_revision:
            raise Failure(
                f"{instance} is at revision {now['revision']} now, not at {acting.expected_revision}: "
                "look at it again, then decide"
            )
    status, answer = request(remote, "POST", f"{path}/{name.value}", body=body, if_match=tag)
    if as_json:
        typer.echo(json.dumps(answer))
    elif status == 202:
        typer.echo(f"{instance}: {name.value} is accepted but not decided yet; check with: saga show {instance}")
    else:
        news = _PAST[name] if answer["changed"] else "is unchanged: that was done before"
        typer.echo(f"{instance} {news}: {answer['status']}")
