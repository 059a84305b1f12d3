"""What the laws must not take for a breach: records that are right, and look as if something were missing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from sagaline.orchestrator.testing.loop import run
from tests.simulation.keys import one_instance
from tests.simulation.play import Play
from tests.simulation.witness import Evidence


@cache
def evidence() -> Evidence:
    """What is on record of a run in which no law breaks."""
    play = Play(3)
    try:
        run(play.live(), seed=3)
        return play.evidence()
    finally:
        play.store.close()


@pytest.mark.slow
def test_an_instance_whose_documents_were_compacted_away_has_begun() -> None:
    """The history tells it; without that it was accepted and never began."""
    found = evidence()
    assert list(one_instance(replace(found, documents={}, versions={}))) == []
    assert list(one_instance(replace(found, history={}))) != []
