"""Appends answers: replies to the topic that the command names, and dead letters. After that the record is finished.

All ready answers are written in one append. When the log rejects a batch because of its content, each answer is
appended alone, and an answer that is rejected alone becomes a dead letter: it does not affect the others.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ..orchestrator.codec.dead_letters import Why, dead_letter
from ..orchestrator.errors import TransientError
from ..orchestrator.ports.log import Log
from .work import Answer

__all__ = ["Answers"]

_logger = structlog.get_logger(__name__)


class Answers:
    """Makes answers durable and finishes their records."""

    def __init__(self, log: Log, dead_topic: str, finished: Callable[[Answer], None]) -> None:
        self._log, self._dead_topic, self._finished = log, dead_topic, finished

    async def append(self, answers: list[Answer]) -> None:
        """On return all of them are durable and finished.

        Raises:
            LogUnavailable: append them again.
        """
        try:
            await self._log.append([record for answer in answers for record in answer.records])
        except TransientError:
            raise
        except Exception:  # rejected because of the content of one answer: find out which
            for answer in answers:
                await self._append_alone(answer)
            return
        for answer in answers:
            self._finish(answer)

    async def _append_alone(self, answer: Answer) -> None:
        try:
            await self._log.append(answer.records)
        except TransientError:
            raise
        except Exception as error:
            if answer.reply is None:
                raise
            reason = f"its reply could not be appended: {error}"
            topics = [each.topic for each in answer.records]
            _logger.warning("worker.reply.refused", topics=topics, error=str(error))
            letter = dead_letter(
                self._dead_topic, None, answer.record, Why(reason, "not-appended"), self._log.max_value_bytes
            )
            await self._log.append([letter])
            answer.reply = None
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        if not answer.mark.finished:
            answer.mark.finish()
            if answer.span is not None:
                answer.span.end()
            self._finished(answer)
