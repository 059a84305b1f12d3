"""The language in which sagas are written. Pure: knows nothing of the engine, of time or of any transport.

The nodes of a flow beside ``step`` and ``pivot`` stand in ``sagaline.sagas.nodes``.
"""

from .contract import Contract, Rejected
from .errors import DefinitionError, SagalineError
from .event import Event
from .nodes import Node, Step, pivot, step
from .policy import Retry
from .saga import Saga

__all__ = [
    "Contract",
    "DefinitionError",
    "Event",
    "Node",
    "Rejected",
    "Retry",
    "Saga",
    "SagalineError",
    "Step",
    "pivot",
    "step",
]
