"""Runs: plays and checks one seed, or many seeds on all cores."""

from __future__ import annotations

import gc
import hashlib
import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.testing.faults import Fault
from sagaline.orchestrator.testing.loop import run

from .laws import Breach, Law, breaches
from .play import Play
from .witness import Evidence

__all__ = ["Outcome", "simulate", "simulate_all"]

_CHUNK = 8
_BREACHES_MAX = 10
_STEPS_MAX = 100_000
"""Limit on event loop steps: a run takes some thousand, and one that waits for days some ten thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one seed.

    ``breaches``: the broken laws. ``counted``: enough succeeded for the run to be meaningful. ``digest``: of every
    record that was written. ``decisions``: records of the history. ``calls``: of workers' handlers.
    """

    seed: int
    breaches: tuple[Breach, ...]
    counted: bool = False
    digest: str = ""
    decisions: int = 0
    calls: int = 0
    kills: int = 0
    ended: Counter[Status]
    faults: Counter[Fault]


def simulate(seed: int) -> Outcome:
    """Plays a seed and checks the laws. Any exception breaks the law ``runs``."""
    with _quiet():
        return _simulated(seed)


def _simulated(seed: int) -> Outcome:
    play = Play(seed)
    try:
        run(play.live(), seed=seed, steps_max=_STEPS_MAX)
        found = play.evidence()
        broken = tuple(breach for breach, _ in zip(breaches(found), range(_BREACHES_MAX), strict=False))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        failed = Breach(law=Law.RUNS, message=text)
        return Outcome(seed=seed, breaches=(failed,), ended=Counter(), faults=play.faults.counts)
    finally:
        play.store.close()
    return Outcome(
        seed=seed,
        breaches=broken,
        counted=_counts(found),
        digest=hashlib.sha256(repr(play.broker.snapshot()).encode()).hexdigest(),
        decisions=sum(map(len, found.history.values())),
        calls=play.minds.calls,
        kills=play.kills,
        ended=Counter(document.status for document in found.documents.values()),
        faults=play.faults.counts,
    )


def simulate_all(seeds: Iterable[int], processes: int) -> Iterator[Outcome]:
    """Plays all seeds in this many processes; outcomes come in the order of the seeds."""
    if processes <= 1:
        yield from map(simulate, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_begin) as pool:
        yield from pool.imap(simulate, seeds, chunksize=_CHUNK)


def _counts(found: Evidence) -> bool:
    """True when half of all instances ended without an operator, and something took effect."""
    ended = [each.status in (Status.COMPLETED, Status.COMPENSATED) for each in found.documents.values()]
    return bool(found.effects) and sum(ended) * 2 >= len(ended) > 0


def _begin() -> None:
    """Freezes imported objects, so that the garbage collector skips them."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextmanager
def _quiet() -> Iterator[None]:
    """Logs only critical lines inside the block."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
