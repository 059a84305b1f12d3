"""``saga webhooks``: registers and changes webhooks over the API, and delivers to them."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack

import typer
from rich.text import Text

from ...workers.webhooks import Courier
from .. import wiring
from ..errors import ConfigurationError
from ..settings import Settings
from .options import Remote, Signed
from .output import grid, print_list
from .paths import segment
from .processes import any_ended, workers_running
from .readiness import Readiness
from .remote import request
from .serving import api_settings, health_page, log_answers
from .users import signature

__all__ = ["list_webhooks", "replay", "serving"]


def list_webhooks(remote: Remote, *, as_json: bool) -> None:
    """Prints the webhooks, by name.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, answer = request(remote, "GET", "/v1/webhooks")
    if as_json:
        typer.echo(json.dumps(answer))
    elif not answer["webhooks"]:
        typer.echo("there is no webhook; register one with: saga webhooks put NAME URL")
    else:
        table = grid("webhook", "types", "definitions", "URL", "state")
        for each in answer["webhooks"]:
            conditions = (", ".join(each[name]) or "all" for name in ("types", "definitions"))
            state = f"disabled: {each['disabled']}" if each["disabled"] else "enabled"
            table.add_row(*map(Text, (each["name"], *conditions, each["url"], state)))
        print_list(table, None)


def replay(remote: Remote, name: str, after: str, *, signed: Signed, as_json: bool) -> None:
    """Sends events again and prints how many, and how to go on.

    Raises:
        Failure: the API rejected it; the message says why.
        Unreachable: the API does not answer.
    """
    body = {"after": after, **signature(remote, signed)}
    _, answer = request(remote, "POST", f"/v1/webhooks/{segment(name)}/replay", body=body)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    typer.echo(f"replay {name}: {answer['sent']:,} events are sent again")
    if answer["more"]:
        typer.echo(f"more follow: saga webhooks replay {name} --after {answer['cursor']}")


async def serving(settings: Settings) -> None:
    """Delivers to webhooks and browsers until it is cancelled.

    Raises:
        ConfigurationError: there is no key, neither of webhooks nor for push messages.
        TopicMismatch: a topic is missing or differs; the message names the remedy.
    """
    keys, push = wiring.webhook_keys(settings), wiring.push_key(settings)
    if not keys and push is None:
        raise ConfigurationError(
            "there is no key for the signatures of webhooks; set the one that the API has, as SAGALINE_WEBHOOK_KEYS="
            "'[\"…\"]', made with: openssl rand -base64 32 (or, to deliver to browsers only, "
            "SAGALINE_PUSH_KEY, made with: saga push key)"
        )
    async with AsyncExitStack() as stack:
        readiness = Readiness()
        base, page = await stack.enter_async_context(wiring.open_service(settings, "sagaline-webhooks"))
        health = await stack.enter_async_context(health_page(settings, api_settings(settings), readiness, page))
        await wiring.prepare_webhooks(base)
        courier = Courier(
            base.log,
            base.topics,
            base.clock,
            keys=keys,
            push=push,
            guards=wiring.guards(settings),
            tracing=base.tracing,
            metrics=base.metrics,
        )
        parts = await stack.enter_async_context(workers_running([("webhooks", courier)], grace_seconds=10.0))
        readiness.add(lambda: courier.objection)
        readiness.add_check(lambda: log_answers(base))
        where = f"; its health at {health}/readyz" if health is not None else ""
        print(f"saga: delivering webhooks of {settings.log}{where}; Ctrl-C stops it", file=sys.stderr, flush=True)
        with readiness.open():
            await any_ended(parts)
