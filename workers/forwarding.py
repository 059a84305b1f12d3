"""Forwarding of routing slips: when a stop is done, its worker sends the slip to the next stop.

The report and the next command are written in one append, the report first. If the worker crashes between the two, the
command is delivered again, its stored reply is found, and both are written again with the same ids.
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
from ..sagas.models import as_json, mistakes, read_foreign
from .work import Work

__all__ = ["Forwarding"]

_logger = structlog.get_logger(__name__)


class Forwarding:
    """Builds the next command of a slip.

    Args:
        topics: the names of the queues' topics.
        source: the writer's name, for people.
        max_bytes: the log's limit; a larger command is left to the orchestrator, which reports it to an operator.
    """

    def __init__(self, topics: Topics, source: str, max_bytes: int) -> None:
        self._topics, self._source, self._max_bytes = topics, source, max_bytes

    def next(self, work: Work, report: Completed, now_ms: int) -> tuple[Completed, Outgoing] | None:
        """The report that says where the slip was sent, and the next command; None: the slip returns."""
        slip, handler, reply_to = work.command.slip, work.handler, work.command.reply_to
        if slip is None or handler is None or reply_to is None or work.command.undo:
            return None
        try:
            model = read_foreign(handler.contract.reply, report.reply)
        except ValidationError as error:
            _logger.warning("worker.slip.home", contract=work.name, error=mistakes(error, "reply"))
            return None
        command = forwarded(slip, work.command.instance, as_json(model, handler.contract.reply))
        if command is None:
            return None
        topic = self._topics.commands(command.queue)
        try:
            outgoing = encode_command(
                topic,
                command,
                reply_to,
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
