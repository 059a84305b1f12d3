"""What several tests of the command line share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

__all__ = ["logs_restored"]


@contextmanager
def logs_restored() -> Iterator[None]:
    """Whatever is configured inside the block, logging and structlog are as before after it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in ("sagaline", "aiokafka"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        structlog.reset_defaults()
