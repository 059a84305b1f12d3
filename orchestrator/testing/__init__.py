"""A simulated world: virtual time, a log in memory, and faults, all from one seed. Not for production."""

from .broker import Broker
from .clock import SimClock
from .faults import Fault, Faults, Operation
from .loop import Deadlock, EndlessRun, SimulationError, run
from .memory_inbox import InboxStore, MemoryInbox
from .memory_log import MemoryLog
from .process import Process

__all__ = [
    "Broker",
    "Deadlock",
    "EndlessRun",
    "Fault",
    "Faults",
    "InboxStore",
    "MemoryInbox",
    "MemoryLog",
    "Operation",
    "Process",
    "SimClock",
    "SimulationError",
    "run",
]
