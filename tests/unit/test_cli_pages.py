"""Lists of the API are gathered page by page: as many as are wanted, and no page more."""

from __future__ import annotations

from typing import Any

import pytest

from sagaline.orchestrator.cli import pages
from sagaline.orchestrator.cli.options import Remote

Asked = list[dict[str, Any]]


def served(monkeypatch: pytest.MonkeyPatch, count: int, marks: tuple[str, str]) -> Asked:
    """Stands in for an API with so many entries; gives the queries that come."""
    asked: Asked = []

    def request(remote: Remote, method: str, path: str, *, query: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert (method, path) == ("GET", "/v1/things")
        asked.append(query)
        begin = int(query[marks[0]] or 0)
        end = min(begin + query["limit"], count)
        return 200, {"things": [{"n": n} for n in range(begin, end)], marks[1]: end if end < count else None}

    monkeypatch.setattr(pages, "request", request)
    return asked


@pytest.mark.parametrize("marks", [("cursor", "cursor"), ("after", "next")])
@pytest.mark.parametrize(
    ("count", "limit", "got", "mark", "sizes"),
    [
        (250, 1_000, 250, None, [100, 100, 100]),
        (250, 130, 130, 130, [100, 30]),
        (100, 100, 100, None, [100]),
        (0, 5, 0, None, [5]),
    ],
)
def test_pages_are_gathered_up_to_the_limit(
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int,
    limit: int,
    got: int,
    mark: int | None,
    sizes: list[int],
    marks: tuple[str, str],
) -> None:
    asked = served(monkeypatch, count, marks)
    found, behind = pages.gather(Remote(), "/v1/things", "things", limit, filters={"key": "A"}, marks=marks)
    assert [each["n"] for each in found] == list(range(got))
    assert behind == mark
    assert [query["limit"] for query in asked] == sizes
    assert {query["key"] for query in asked} == {"A"}
