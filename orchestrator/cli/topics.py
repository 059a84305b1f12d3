"""``saga topics create|check``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

import typer

from ...sagas.contract import check_name
from .. import wiring
from ..errors import DefinitionError
from ..kernel import Registry
from ..logs import configure_logs
from ..runtime.namespace import prepare
from ..settings import Settings
from .errors import Mistake
from .loading import load_parts
from .options import rendering

__all__ = ["Wanted", "topics"]


class Wanted(NamedTuple):
    """Whose topics: of these sagas and workers, of these queues, and of webhooks."""

    references: Sequence[str]
    queues: Sequence[str]
    webhooks: bool


def topics(settings: Settings, wanted: Wanted, *, create: bool, as_json: bool) -> None:
    """Creates missing topics if asked to, checks all topics, and prints them.

    Raises:
        TopicMismatch: a topic is missing or configured differently.
        Mistake: not a valid queue name.
    """
    configure_logs(rendering(settings, terminal=sys.stderr.isatty()), settings.log_level)
    definitions, workers = load_parts(wanted.references)
    queues = {*Registry(definitions).queues, *wanted.queues, *(queue for worker in workers for queue in worker.queues)}
    groups = {(each.options.group, each.topic) for worker in workers for each in worker.subscriptions}
    for queue in wanted.queues:
        try:
            check_name("queue", queue)
        except DefinitionError as error:
            raise Mistake(str(error)) from error
    names, created = asyncio.run(_topics(settings, queues, groups, webhooks=wanted.webhooks, create=create))
    if as_json:
        typer.echo(json.dumps({"topics": names, "created": created}))
        return
    for name in names:
        typer.echo(f"{name}  {'created' if name in created else 'ok'}")


async def _topics(
    settings: Settings, queues: set[str], groups: set[tuple[str, str | None]], *, webhooks: bool, create: bool
) -> tuple[list[str], list[str]]:
    async with wiring.open_base(settings) as base:
        names, created = await prepare(base.log, base.topics, queues, settings.partitions, create=create)
        more, made = await wiring.prepare_subscriptions(base, sorted(groups, key=str), create=create)
        with_webhooks, of_them = await wiring.prepare_webhooks(base, create=create) if webhooks else ((), ())
        return [*names, *more, *with_webhooks], [*created, *made, *of_them]
