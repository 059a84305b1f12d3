"""Keeps collections of garbage short: among some million objects each took seconds, in which every deadline of a test
went on.
"""

from __future__ import annotations

import gc

from fastapi.dependencies import models

__all__ = ["pytest_collection_finish", "pytest_runtest_logfinish"]

_OF_ENDPOINTS = [each for each in vars(models).values() if hasattr(each, "cache_clear")]


def pytest_collection_finish() -> None:
    """What is imported now stays, so no later collection looks at it."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    """FastAPI remembers the last 4,096 endpoints it has looked at, and by them some forty applications."""
    for each in _OF_ENDPOINTS:
        each.cache_clear()
