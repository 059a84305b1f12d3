"""Lists of the API are gathered page by page: as many as are wanted, and no page more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli import pages
from sagaline.orchestrator.cli.app import app
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


AT = "2026-01-01T00:00:00.000Z"
HOLDER = {"instance": "o/1", "step": "s", "since": AT}
INSTANCE = {"id": "o/1", "version": 1, "status": "running", "paused": False, "updated_at": AT}
QUESTION = {
    "instance": "o/1",
    "step": "s",
    "question": "?",
    "claimed_by": None,
    "who": ["ann"],
    "due": AT,
    "form": None,
}
CHANGE = {"version": 1, "at": AT, "by": "ann", "reason": "", "rules": None, "outcome": "applied", "answer": ""}
DECISION = {"outcome": "applied", "reason": "", "message": None, "changes": [], "sent": [], "revision": 1, "at": AT}
LISTS: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "list": (["list"], "instances", INSTANCE | {"attention": None, "cause": None}),
    "overdue": (["overdue"], "overdue", HOLDER | {"status": "sent", "overdue": AT, "deadline": None}),
    "questions": (["questions"], "questions", QUESTION),
    "locks": (["locks"], "locks", {"name": "l", "holder": HOLDER, "waiting": []}),
    "mailboxes": (["mailboxes"], "mailboxes", {"event": "e", "key": "k", "waiting": 1, "kept": 0}),
    "history": (["history", "o/1"], "decisions", DECISION | {"status": "running"}),
    "rules history": (["rules", "history", "t"], "changes", CHANGE),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "whole"])
def test_every_list_says_when_it_was_cut(monkeypatch: pytest.MonkeyPatch, name: str, *, cut: bool) -> None:
    """For people below the table, for scripts in the mark that leads on."""
    command, field, entry = LISTS[name]
    mark = "next" if field in ("decisions", "changes") else "cursor"

    def request(*_: object, **__: object) -> tuple[int, dict[str, Any]]:
        return 200, {field: [entry], mark: "on" if cut else None}

    monkeypatch.setattr(pages, "request", request)
    shown = CliRunner().invoke(app, [*command, "--limit", "1"])
    assert (shown.exit_code, "there are more" in shown.stdout) == (0, cut), shown.output
    told = json.loads(CliRunner().invoke(app, [*command, "--limit", "1", "--json"]).stdout)
    assert (told[field], told[mark]) == ([entry], "on" if cut else None)
