"""The whole shop in virtual time: every order ends, nothing is done twice, and the same seed gives the same bytes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from sagaline.orchestrator.testing import Fault, run

from .shop import STORM, Shop


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def played(seed: int, *, storm: bool) -> Shop:
    shop = Shop(seed, storm=STORM if storm else None)
    run(shop.play(), seed=seed)
    return shop


@pytest.mark.slow
@pytest.mark.parametrize("storm", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_order_ends_and_nothing_is_done_twice(seed: int, storm: bool) -> None:
    shop = played(seed, storm=storm)
    assert len(shop.documents()) == shop.orders
    assert {str(one.status) for one in shop.documents().values()} <= {"completed", "compensated"}
    assert shop.ledger.done_twice() == []
    assert shop.ledger.open_charges() == []
    assert bool(shop.faults.counts) is storm


@pytest.mark.slow
@pytest.mark.parametrize("storm", [False, True])
def test_the_same_seed_twice_is_byte_equal(storm: bool) -> None:
    assert played(5, storm=storm).bytes() == played(5, storm=storm).bytes()
    assert played(5, storm=storm).bytes() != played(6, storm=storm).bytes()


@pytest.mark.slow
def test_another_process_with_other_hashes_gives_the_same_bytes() -> None:
    script = (
        "import hashlib, logging, structlog\n"
        "structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))\n"
        "from sagaline.orchestrator.testing import run\n"
        "from tests.sim.shop import STORM, Shop\n"
        "shop = Shop(5, storm=STORM)\n"
        "run(shop.play(), seed=5)\n"
        "print(hashlib.sha256(shop.bytes()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.slow
def test_the_storm_injects_every_kind_of_fault() -> None:
    counts: Counter[Fault] = Counter()
    for seed in range(8):
        counts += played(seed, storm=True).faults.counts
    assert set(counts) == set(Fault)
