"""``saga watch``: events as lines or as JSON, from a cursor on, also when the API was away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli import watch
from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.errors import Unreachable
from sagaline.orchestrator.cli.options import Remote


def event(kind: str, status: str | None, **data: Any) -> dict[str, Any]:
    return {
        "type": f"sagaline.instance.{kind}",
        "subject": "order/A-1",
        "time": "2026-03-01T12:00:00.000Z",
        "data": {"status": status, "by": None, "code": None, "reason": None, **data},
    }


STARTED, ENDED = event("started", "running"), event("completed", "completed")
PAUSED = event("paused", "running", by="ann", reason="stock \x1b[2J")


def page(*events: dict[str, Any], cursor: str, more: bool = False) -> dict[str, Any]:
    return {"events": list(events), "cursor": cursor, "more": more}


class Api:
    """Answers one after the other; then it is interrupted."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()

    def request(self, remote: Remote, method: str, path: str, *, query: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert (method, path) == ("GET", "/v1/events")
        self.asked.append({name: value for name, value in query.items() if value is not None})
        if not self.answers:
            raise KeyboardInterrupt
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return 200, answer


def watched(monkeypatch: pytest.MonkeyPatch, api: Api, *arguments: str) -> Any:
    monkeypatch.setattr(watch, "request", api.request)
    monkeypatch.setattr(watch, "_AGAIN_SECONDS", 0.0)
    return CliRunner().invoke(app, ["watch", *arguments])


def test_one_instance_is_watched_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(page(cursor="a"), page(STARTED, PAUSED, cursor="b", more=True), page(ENDED, STARTED, cursor="c"))
    done = watched(monkeypatch, api, "order/A-1", "--type", "started", "--type", "completed")
    assert done.exit_code == 0, done.output
    lines = [line.split()[2:] for line in done.stdout.splitlines()]
    assert lines == [
        ["started", "order/A-1"],
        ["paused", "order/A-1", "by", "ann", "stock", "\\x1b[2J"],
        ["completed", "order/A-1"],
    ]
    asked = {"instance": "order/A-1", "type": ["started", "completed"]}
    assert api.asked == [asked, {**asked, "after": "a", "wait": 20}, {**asked, "after": "b", "wait": 0}]


def test_an_api_that_was_away_is_asked_again_from_the_same_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Unreachable("nothing answers")
    api = Api(page(cursor="a"), gone, gone, page(STARTED, cursor="b"))
    done = watched(monkeypatch, api, "--definition", "order", "--json", "--after", "earliest")
    assert json.loads(done.stdout) == STARTED
    assert done.stderr.count("nothing answers; it is tried again") == 1
    assert [each["after"] for each in api.asked] == ["earliest", "a", "a", "a", "b"]


def test_an_api_that_never_answered_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    done = watched(monkeypatch, Api(Unreachable("nothing answers")))
    assert done.exit_code != 0
    assert done.stdout == ""
