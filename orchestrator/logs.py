"""Logging of all processes: structlog to stderr, as JSON lines or for people.

Rules:
- One line per event; the logs of libraries (uvicorn, aiokafka, SQLAlchemy) go the same way, from level warning.
- Code that handles a message binds its instance and trace id (``structlog.contextvars``), so they are on every line.
  Payloads are never logged.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

__all__ = ["configure_logs"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def configure_logs(
    rendering: Literal["console", "json"],
    level: Literal["debug", "info", "warning", "error", "critical"],
) -> None:
    """Sends all logs of this process from ``level`` to stderr, in one rendering. May be called again."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(rendering))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger("sagaline").setLevel(_LEVELS[level])
    # It logs fifty errors a second while a broker is away; the adapter logs that once itself.
    logging.getLogger("aiokafka").setLevel(logging.NOTSET if level == "debug" else logging.CRITICAL)


def _rendering(rendering: Literal["console", "json"]) -> list[structlog.typing.Processor]:
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if rendering == "json":
        return [without_meta, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    colors = sys.stderr.isatty()
    return [without_meta, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


class _StderrHandler(logging.Handler):
    """Writes to the current ``sys.stderr``, which may be replaced while the process runs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)
