"""Planted mistakes: each still fits the source, and the simulation finds every one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.repo.tree import ROOT
from tests.simulation import Law

from .changed import changed_files, chosen
from .hunt import SEEDS_MAX, hunt_all, patched
from .planted import PLANTED, Planted
from .planted_page import PAGE, rows

CORES = os.cpu_count() or 1


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    names = [mistake.name for mistake in PLANTED]
    assert len(names) >= 40
    assert len(set(names)) == len(names)
    assert {law for mistake in PLANTED for law in mistake.laws} <= {law.value for law in Law}


@pytest.mark.parametrize("mistake", PLANTED, ids=lambda mistake: mistake.name)
def test_a_mistake_fits_the_source_exactly_once(mistake: Planted) -> None:
    """Code that has moved on makes this fail: write the mistake anew."""
    for edit in mistake.edits:
        source = (ROOT / edit.file).read_text()
        assert compile(patched(source, [(edit.old, edit.new)], edit.file), edit.file, "exec")


def test_an_edit_that_does_not_fit_is_refused() -> None:
    with pytest.raises(AssertionError, match="stands there 0 times, not once"):
        patched("a = 1\n", [("b", "c")], "x.py")
    with pytest.raises(AssertionError, match="stands there 2 times, not once"):
        patched("a = a\n", [("a", "c")], "x.py")


def not_found(mistakes: Sequence[Planted]) -> list[str]:
    """Those that no law finds within so many seeds, or another one than the mistake was meant to break."""
    wrong = []
    for mistake, found in zip(mistakes, hunt_all([each.name for each in mistakes], CORES), strict=True):
        if found.law not in mistake.laws:
            wrong.append(f"{mistake.name}: {found.law or 'nothing'} within {found.seeds} of {SEEDS_MAX} seeds")
    return wrong


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.long
def test_the_simulation_finds_the_mistakes_in_what_changed() -> None:
    """And a few of the others."""
    mistakes = chosen(PLANTED, changed_files(ROOT), 8)
    assert not_found([*mistakes, *(each for each in PLANTED[::40] if each not in mistakes)]) == []


@pytest.mark.slow
@pytest.mark.skipif("SAGALINE_SOAK" not in os.environ, reason="make soak")
@pytest.mark.timeout(3_000)
def test_the_simulation_finds_every_mistake() -> None:
    assert not_found(PLANTED) == []


def test_the_page_lists_every_mistake_and_law() -> None:
    """``make planted`` writes it."""
    listed = rows(PAGE.read_text())
    assert [row[0] for row in listed] == [mistake.name for mistake in PLANTED]
    for mistake, row in zip(PLANTED, listed, strict=True):
        assert row[1] in mistake.laws
        assert 1 <= int(row[2]) <= SEEDS_MAX
    assert all(f"`{law.value}`" in PAGE.read_text() for law in Law)
