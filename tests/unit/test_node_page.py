"""docs/nodes.md: every node has its six rows, the page says what the docstrings say, and a test shows each line."""

from __future__ import annotations

import pytest

from tests.repo.node_page import NODES, PAGE, ROWS, said, said_of, written

from . import (
    test_aggregator,
    test_kernel_fail,
    test_manager_promises,
    test_node_promises,
    test_routing_slip,
    test_waiting_promises,
)
from .promises import SHOWN

assert all(
    (
        test_aggregator,
        test_kernel_fail,
        test_manager_promises,
        test_node_promises,
        test_routing_slip,
        test_waiting_promises,
    )
)  # importing them puts tests on record


@pytest.mark.parametrize("name", NODES)
def test_a_docstring_says_what_happens_in_all_six_cases(name: str) -> None:
    assert list(said_of(name).rows) == list(ROWS)


def test_the_page_is_up_to_date() -> None:
    """``make nodes`` writes it."""
    assert written(PAGE.read_text()) == PAGE.read_text()


@pytest.mark.parametrize("name", NODES)
def test_every_line_of_a_docstring_is_shown_by_a_test(name: str) -> None:
    found = said_of(name)
    shown = {row for node, row in SHOWN if node == name}
    assert [row for row in found.rows if row not in shown] == []
    plain = [note.replace("`", "") for note in found.notes]
    assert [note for note in plain if not any(note.startswith(row) for row in shown)] == []


def test_no_test_claims_to_show_what_no_docstring_says() -> None:
    unsaid = [
        (name, row)
        for name, row in SHOWN
        if row not in ROWS and not any(note.replace("`", "").startswith(row) for note in said_of(name).notes)
    ]
    assert unsaid == []


def test_a_list_of_a_docstring_is_read_to_its_end() -> None:
    text = "Does.\n\n- success: all is\n  well.\n- a function that ``raises``: shown.\n- undo: no.\n\nArgs:\n    x: y\n"
    assert said(text) == ({"success": "all is well.", "undo": "no."}, ("a function that `raises`: shown.",))
