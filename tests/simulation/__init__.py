"""The simulation: engines, workers, clients and the log in one deterministic thread, all from one seed.

``invent`` generates definitions from the whole language, ``play`` runs them under faults, heals and waits for their
end, ``laws`` checks the log afterwards. ``make simulate SEEDS=0..100`` runs it; see docs/simulation.md.

Add a new kind of definition in ``invent`` (or a module like ``managers``), and its start in ``agenda``.
"""

from .laws import Breach, Law
from .runs import Outcome, simulate, simulate_all

__all__ = ["Breach", "Law", "Outcome", "simulate", "simulate_all"]
