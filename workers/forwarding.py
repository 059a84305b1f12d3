"""A routing slip on its way: when a stop is done, its worker sends the slip on to the next one.

The report and the next command go out in one append, the report first. A worker that dies between the two finds the
command again, and the stored reply with it: then both go out once more, with the same ids.
"""

from __future__ import annotations

from dataclasses import replace

import structlog
from pydantic import ValidationError

from ..orchestrator.codec.commands import encode_command
from ..orchestrator.messages.forwarding import forwarded
from ..orchestrator.messages.inputs import Completed
from ..orchestrator.ports.log import Outgoing, size_bytes
from ..orchestrator.ports.topics import Topics
from ..sagas.models import as_json, read_foreign
from .work import Work

__all__ = ["Forwarding"]

_logger = structlog.get_logger(__name__)


class Forwarding:
    """Makes the next command of a slip.

    Args:
        topics: names the queues' topics.
        source: who writes it, for people.
        max_bytes: what the log takes; a larger command is left to the orchestrator, which says so to an operator.
    """

    def __init__(self, topics: Topics, source: str, max_bytes: int) -> None:
        self._topics, self._source, self._max_bytes = topics, source, max_bytes

    def next(self, work: Work, report: Completed, now_ms: int) -> tuple[Completed, Outgoing] | None:
        """The report that says where the slip was sent, and the command; None: it goes home."""
        slip, handler = work.command.slip, work.handler
        if slip is None or handler is None or work.command.undo:
            return None
        try:
            model = read_foreign(handler.contract.reply, report.reply)
        except ValidationError as error:
            _logger.warning("worker.slip.home", contract=work.name, error=str(error.errors()[0]["msg"]))
            return None
        command = forwarded(slip, work.command.instance, as_json(model, handler.contract.reply))
        if command is None:
            return None
        topic = self._topics.commands(command.queue)
        try:
            outgoing = encode_command(
                topic,
                command,
                work.command.reply_to,
                source=self._source,
                now_ms=now_ms,
                traceparent=report.traceparent,
            )
        except ValueError as error:
            _logger.warning("worker.slip.home", contract=work.name, error=str(error))
            return None
        if size_bytes(outgoing.key, outgoing.value, outgoing.headers) > self._max_bytes:
            return None
        return replace(report, forwarded=command.id), outgoing
