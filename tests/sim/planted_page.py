"""Writes the laws, and which law found each planted mistake after how many seeds, into docs/simulation.md.

``make planted`` runs it: every mistake is hunted anew. A test holds the page to the list of mistakes.
"""

from __future__ import annotations

import os
import re

from tests.repo.tree import ROOT
from tests.simulation.laws import SENTENCES

from .hunt import SEEDS_MAX, Found, hunt_all
from .planted import PLANTED

__all__ = ["MARK", "PAGE", "rows", "written"]

PAGE = ROOT / "docs" / "simulation.md"
MARK = "<!-- laws and planted mistakes; written by `make planted` -->\n"
_ROW = re.compile(r"^\| ([^|`]+) \| `([a-z-]+)` \| (\d+) \|$", re.M)


def rows(page: str) -> list[tuple[str, str, str]]:
    """Of each mistake on the page its name, the law that found it, and the seeds that it took."""
    return [(name, law, seeds) for name, law, seeds in _ROW.findall(page)]


def written(page: str, found: list[Found]) -> str:
    """The page with its second part as it must be."""
    head, mark, _ = page.partition(MARK)
    assert mark, f"{PAGE.name} has lost the line {MARK}"
    laws = [f"| `{law.value}` | {sentence} |\n" for law, sentence in SENTENCES.items()]
    hunted = [f"| {each.name} | `{each.law}` | {each.seeds} |\n" for each in found]
    return "".join(
        [
            head,
            mark,
            "\n## The laws\n\n| law | what must hold |\n|---|---|\n",
            *laws,
            f"\n## Planted mistakes\n\nEach is found within {SEEDS_MAX} seeds; how many it took, from seed 0 on:\n\n",
            "| mistake | found by | seeds |\n|---|---|---|\n",
            *hunted,
        ]
    )


if __name__ == "__main__":
    hunted = []
    for result in hunt_all([mistake.name for mistake in PLANTED], os.cpu_count() or 1):
        print(f"{result.name}: {result.law or 'not found'}, {result.seeds} seeds", flush=True)
        hunted.append(result)
    wrong = [each.name for each, mistake in zip(hunted, PLANTED, strict=True) if each.law not in mistake.laws]
    assert not wrong, f"not found within {SEEDS_MAX} seeds, or by another law: {', '.join(wrong)}"
    PAGE.write_text(written(PAGE.read_text(), hunted))
