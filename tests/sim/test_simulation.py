"""The simulation: every law holds in every run, runs are what they claim to be, and the same seed is the same run."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.testing import Fault
from sagaline.sagas import nodes
from sagaline.sagas.nodes import Node
from tests.simulation import Law, Outcome, simulate, simulate_all
from tests.simulation.__main__ import main
from tests.simulation.invent import invent
from tests.simulation.laws import LAWS, SENTENCES

from .planted import PLANTED

CORES = os.cpu_count() or 1
SEEDS = 2_000 if "SAGALINE_SOAK" in os.environ else 60


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.long
def test_no_seed_breaks_a_law() -> None:
    """And nearly all runs say something: half of their instances came to an end of their own, and every fault came."""
    outcomes = list(simulate_all(range(SEEDS), CORES))
    assert {each.seed: str(each.breaches[0]) for each in outcomes if each.breaches} == {}
    assert sum(each.counted for each in outcomes) > 0.85 * SEEDS
    ended = sum((each.ended for each in outcomes), Counter())
    assert min(ended["completed"], ended["compensated"]) > 0.25 * ended.total()
    faults: Counter[Fault] = sum((each.faults for each in outcomes), Counter())
    assert set(faults) == set(Fault)
    assert sum(each.kills for each in outcomes) > 10


@pytest.mark.slow
def test_the_same_seed_twice_is_byte_equal() -> None:
    """In this process and in others, whatever the hash seed; and another seed is another run."""
    seeds = range(7, 10)
    once = [simulate(seed).digest for seed in seeds]
    assert [simulate(seed).digest for seed in seeds] == once
    assert len(set(once)) == len(once)
    script = f"from tests.simulation import simulate\nprint(*(simulate(seed).digest for seed in {seeds!r}))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", script]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=True).stdout
        assert said.split() == once


@pytest.mark.slow
def test_definitions_are_made_of_every_node() -> None:
    """Before and behind the pivot, at the top and nested; no ``fail``, which would only shorten what is played."""
    top: set[str] = set()
    nested: set[str] = set()
    behind: set[str] = set()
    for seed in range(200):
        for definition in Registry(invent(random.Random(seed)).definitions):
            for spot in definition.tree:
                (nested if spot.path else top).add(type(spot.node).__name__)
                if spot.past_pivot:
                    behind.add(type(spot.node).__name__)
    kinds = {
        name for name in nodes.__all__ if isinstance(kind := getattr(nodes, name), type) and issubclass(kind, Node)
    }
    assert top == behind == kinds - {"Node", "Fail"}
    assert nested == kinds - {"Node", "Fail", "Pivot"}


def test_every_law_has_a_sentence_and_a_mistake_that_breaks_it() -> None:
    """A check that cannot fail is a defect."""
    assert set(SENTENCES) == set(Law)
    assert set(LAWS) == set(Law) - {Law.RUNS}
    assert {law for mistake in PLANTED for law in mistake.laws} == set(Law)


@pytest.mark.slow
def test_the_command_says_what_broke_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clean seed and one whose process failed."""
    assert main(["3", "--twice"]) == 0
    assert "1 seeds, 0 break a law" in capsys.readouterr().out
    monkeypatch.setattr("tests.simulation.play.Play.live", _fails)
    assert main(["3..4"]) == 1
    said = capsys.readouterr().out
    assert "seed 3 breaks:\n  runs: RuntimeError: on purpose" in said
    assert "again: make simulate SEEDS=3" in said


async def _fails(play: object) -> Outcome:
    raise RuntimeError("on purpose")
