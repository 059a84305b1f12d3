"""Sagaline: sagas and process managers for Python teams on Kafka.

This module exports the names of ``sagaline.sagas``. The rest is imported from its own package: the engine from
``sagaline.orchestrator``, the worker runtime from ``sagaline.workers``, the HTTP API from ``sagaline.api``.

Names are imported at their first use (PEP 562), so that ``saga`` can be interrupted while it is still loading.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sagas import Contract, DefinitionError, Rejected, Retry, Saga, SagalineError, pivot, step

__all__ = ["Contract", "DefinitionError", "Rejected", "Retry", "Saga", "SagalineError", "pivot", "step"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import sagas

    return getattr(sagas, name)
