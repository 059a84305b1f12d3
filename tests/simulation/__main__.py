"""``python -m tests.simulation 0..100``: runs seeds, and prints how to repeat those that broke a law."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from sagaline.orchestrator.testing.faults import Fault

from .laws import SENTENCES
from .runs import Outcome, simulate, simulate_all

_SHOWN_MAX = 3
_TOLD_EVERY = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; 0: every law holds in every run."""
    parser = argparse.ArgumentParser(prog="make simulate", description="Runs seeds of the simulation.")
    parser.add_argument("seeds", help="0..100: from 0 up to and without 100; or one seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core")
    parser.add_argument("--twice", action="store_true", help="runs each seed twice and compares the bytes")
    options = parser.parse_args(arguments)
    seeds = _seeds(options.seeds)
    begun, outcomes = time.perf_counter(), []
    for outcome in simulate_all(seeds, min(options.processes, len(seeds))):
        outcomes.append(outcome)
        _show(outcome)
        if len(outcomes) % _TOLD_EVERY == 0:
            print(f"{len(outcomes):,} of {len(seeds):,}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - begun
    differ = [outcome.seed for outcome in outcomes if options.twice and simulate(outcome.seed) != outcome]
    for seed in differ:
        print(f"seed {seed} gave two different runs: make simulate SEEDS={seed} ARGS=--twice")
    print(_summary(outcomes, seconds))
    return int(bool(differ) or any(outcome.breaches for outcome in outcomes))


def _seeds(text: str) -> range:
    first, dots, end = text.partition("..")
    return range(int(first), int(end)) if dots else range(int(first), int(first) + 1)


def _show(outcome: Outcome) -> None:
    if not outcome.breaches:
        return
    print(f"seed {outcome.seed} breaks:")
    for breach in outcome.breaches[:_SHOWN_MAX]:
        print(f"  {breach}\n    the law: {SENTENCES[breach.law]}")
    if len(outcome.breaches) > _SHOWN_MAX:
        print(f"  and {len(outcome.breaches) - _SHOWN_MAX} more")
    print(f"  again: make simulate SEEDS={outcome.seed}", flush=True)


def _summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    faults: Counter[Fault] = sum((outcome.faults for outcome in outcomes), Counter())
    ended = sum((outcome.ended for outcome in outcomes), Counter())
    broken = sum(bool(outcome.breaches) for outcome in outcomes)
    return "\n".join(
        [
            f"{len(outcomes):,} seeds, {broken} break a law, {sum(o.counted for o in outcomes):,} counted",
            f"in {seconds:.1f} s: {len(outcomes) / seconds:.1f} seeds/s",
            f"{sum(o.decisions for o in outcomes):,} decisions, {sum(o.calls for o in outcomes):,} calls of handlers, "
            f"{sum(o.kills for o in outcomes):,} processes killed or stopped",
            f"instances: {', '.join(f'{count:,} {status}' for status, count in ended.most_common())}",
            f"faults: {', '.join(f'{count:,} {fault}' for fault, count in faults.most_common())}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
