"""The language in which sagas are written. Pure: knows nothing of the engine, of time or of any transport."""

from .contract import Contract, Rejected
from .errors import DefinitionError, SagalineError
from .nodes import Node, Step, pivot, step
from .policy import Retry
from .saga import Saga

__all__ = [
    "Contract",
    "DefinitionError",
    "Node",
    "Rejected",
    "Retry",
    "Saga",
    "SagalineError",
    "Step",
    "pivot",
    "step",
]
