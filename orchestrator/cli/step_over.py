"""``saga topics step-over``: skips a batch that can never be read; the reason is kept in the partition's history."""

from __future__ import annotations

import asyncio
import sys

import typer

from .. import wiring
from ..codec.documents import encode_history
from ..errors import ConfigurationError, UnreadableBatch
from ..logs import configure_logs
from ..messages.history import HistoryRecord
from ..messages.outputs import Outcome
from ..ports.log import Outgoing
from ..settings import Settings
from .options import rendering
from .users import user

__all__ = ["step_over"]


def step_over(settings: Settings, place: str, *, reason: str, by: str | None) -> None:
    """Skips the batch at ``topic/partition/offset``, and prints which offsets were skipped.

    Raises:
        ConfigurationError: the place is malformed, or no reader is stopped there.
        LogUnavailable: it is not known whether it was done.
    """
    configure_logs(rendering(settings, terminal=sys.stderr.isatty()), settings.log_level)
    topic, _, rest = place.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise ConfigurationError(f"{place!r} is not topic/partition/offset; copy it from the log line")
    who = user(None, by)
    found = asyncio.run(_step_over(settings, (topic, int(partition), int(offset)), f"{reason} (by {who})"))
    typer.echo(f"{topic}/{partition}: skipped offsets {found.offset} to {found.following - 1}")


async def _step_over(settings: Settings, place: tuple[str, int, int], reason: str) -> UnreadableBatch:
    topic, partition, offset = place
    async with wiring.open_base(settings) as base:

        def note(found: UnreadableBatch) -> Outgoing:
            given_up = f"offsets {found.offset} to {found.following - 1} were skipped because they can never be read"
            entry = HistoryRecord(
                instance=f"~{topic}/{partition}",
                revision=0,
                at_ms=base.clock.now_ms(),
                outcome=Outcome.DENIED,
                status=None,
                message=None,
                reason=f"{given_up} ({found.cause}): {reason}",
            )
            id = f"step-over/{found.where}"
            source = f"/{base.topics.namespace}/step-over"
            return encode_history(base.topics.history, partition, entry, id=id, request=id, source=source)

        return await wiring.step_over(base, topic, partition, offset, note)
