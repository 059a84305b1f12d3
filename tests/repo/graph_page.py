"""Writes the graphs of the shipped examples into docs/graphs.md: ``make graphs``. A test holds the page to it."""

from __future__ import annotations

import re

from sagaline.sagas.examples.flight_search import flight_search
from sagaline.sagas.examples.invoice_import import invoice_import
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.examples.trip_booking import trip_booking
from sagaline.sagas.graph import as_mermaid, graph_of
from tests.repo.tree import ROOT

PAGE = ROOT / "docs" / "graphs.md"
EXAMPLES = (checkout, trip_booking, flight_search, invoice_import, order_fulfilment, loan_approval)
MARK = "<!-- the examples; written by `make graphs` -->\n"


def written(page: str) -> str:
    """The page with its second part as it must be."""
    head, mark, _ = page.partition(MARK)
    assert mark, f"{PAGE.name} has lost the line {MARK}"
    graphs = [f"\n## {each.name}\n\n```mermaid\n{as_mermaid(graph_of(each))}```\n" for each in EXAMPLES]
    return head + mark + "".join(graphs)


def fences(page: str) -> list[str]:
    """The diagrams of the page."""
    return re.findall(r"^```mermaid\n(.*?)^```$", page, re.M | re.S)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
