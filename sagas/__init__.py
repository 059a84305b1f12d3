"""The language in which sagas are written. Pure: it does not depend on the engine, on time or on a transport.

All nodes other than ``step`` and ``pivot`` are in ``sagaline.sagas.nodes``.
"""

from .aggregator import Aggregator, Gathered
from .contract import Contract, Rejected
from .errors import DefinitionError, SagalineError
from .event import Event
from .nodes import Node, Step, pivot, step
from .policy import Retry
from .resequencer import Resequencer
from .saga import Saga
from .schedule import Schedule

__all__ = [
    "Aggregator",
    "Contract",
    "DefinitionError",
    "Event",
    "Gathered",
    "Node",
    "Rejected",
    "Resequencer",
    "Retry",
    "Saga",
    "SagalineError",
    "Schedule",
    "Step",
    "pivot",
    "step",
]
