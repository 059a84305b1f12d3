"""The simulation: engines, workers, clients and the log in one deterministic thread, everything out of one seed.

``invent`` draws definitions from the whole language, ``play`` lives through a storm with them, heals and demands
liveness, ``laws`` says what must hold of what is on record afterwards. ``make simulate SEEDS=0..100`` runs it; see
docs/simulation.md.

A new kind of definition is added in ``invent`` (or a module beside ``managers``), and how it is started in ``agenda``.
"""

from .laws import Breach, Law
from .runs import Outcome, simulate, simulate_all

__all__ = ["Breach", "Law", "Outcome", "simulate", "simulate_all"]
