"""Sagaline: sagas and process managers for Python teams on Kafka.

The language of ``sagaline.sagas`` under the shortest name; everything else is imported from its home: the engine from
``sagaline.orchestrator``, the worker runtime from ``sagaline.workers``, the HTTP surface from ``sagaline.api``.
"""

from .sagas import Contract, DefinitionError, Rejected, Retry, Saga, SagalineError, pivot, step

__all__ = ["Contract", "DefinitionError", "Rejected", "Retry", "Saga", "SagalineError", "pivot", "step"]
