"""``saga trace`` draws a run from its timeline: what worked, what waited, and for how long."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from sagaline.api.timelines import timeline_view
from sagaline.orchestrator import wiring
from sagaline.orchestrator.cli import trace
from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.options import Remote
from sagaline.orchestrator.kernel.timeline import timeline
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.outputs import Change, Outcome

T0 = 1_700_000_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def row(second: float, *changes: tuple[str, str | None, str], status: Status | None = Status.RUNNING) -> HistoryRecord:
    """A decision."""
    return HistoryRecord(
        instance="order/A-1",
        revision=1,
        at_ms=round((T0 + second) * 1_000),
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
        outcome=Outcome.APPLIED,
        status=status,
        message=None,
        changes=tuple(Change(what=what, before=before, after=after) for what, before, after in changes),
    )


BEGUN = row(0, ("instance", None, "running"), ("reserve", None, "sent"))
WAITS = row(10, ("reserve", "sent", "done"), ("pay", None, "waiting"))
OVERDUE = row(50, ("overdue", None, "pay"))
PAID = row(100, ("pay", "waiting", "done"), ("ship", None, "sent"))
REJECTED = row(
    110, ("ship", "sent", "rejected"), ("instance", "running", "compensating"), ("reserve", "done", "undo_sent")
)
ENDED = row(
    120,
    *(("reserve", "undo_sent", "undone"), ("instance", "compensating", "compensated")),
    status=Status.COMPENSATED,
)
WHOLE = [BEGUN, WAITS, OVERDUE, PAID, REJECTED, ENDED]


def drawn(monkeypatch: pytest.MonkeyPatch, rows: Sequence[HistoryRecord], *more: str, now: float = 120) -> str:
    """What the command prints when the API has this history and the clock shows that second."""

    def request(remote: Remote, method: str, path: str, *, query: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert (method, path, query) == ("GET", "/v1/instances/order/A-1/timeline", {"limit": 10_000})
        return 200, timeline_view("order/A-1", timeline(rows, None), len(rows)).model_dump(mode="json")

    monkeypatch.setattr(trace, "request", request)
    monkeypatch.setattr(wiring, "now_ms", lambda: (T0 + now) * 1_000)
    done = CliRunner().invoke(app, ["trace", "order/A-1", *more])
    assert done.exit_code == 0, done.output
    return done.stdout


def line(shown: str, step: str) -> list[str]:
    (found,) = [each for each in shown.splitlines() if each.split()[:1] == [step]]
    return found.split()


def test_each_step_is_a_bar_with_what_it_worked_and_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column is two and a half seconds here; between its end and its undo a step has no bar."""
    shown = drawn(monkeypatch, WHOLE)
    assert shown.splitlines()[0] == f"order/A-1  compensated  2 min 0 s  trace {TRACE}"
    assert line(shown, "reserve") == [
        *("reserve", "undone", "+0", "ms", "2", "min", "0", "s", "20.0", "s"),
        *("████", "▒▒▒▒"),
    ]
    assert line(shown, "pay") == ["pay", "done", "+10.0", "s", "1", "min", "30", "s", "1", "min", "30", "s", "░" * 36]
    assert line(shown, "ship") == ["ship", "rejected", "+1", "min", "40", "s", "10.0", "s", "10.0", "s", "████"]
    begins = {step: shown.splitlines()[n].index("█") for n, step in ((4, "reserve"), (6, "ship"))}
    assert begins["ship"] - begins["reserve"] == 40


def test_a_short_attempt_shows_beside_a_wait_of_days(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(monkeypatch, [BEGUN, row(10, ("reserve", "sent", "blocked"))], now=3 * 86_400)
    assert line(shown, "reserve")[-1] == "█" + "░" * 47


def test_what_has_not_ended_goes_on_until_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of days is drawn as such, although nothing was decided meanwhile."""
    shown = drawn(monkeypatch, [BEGUN, WAITS], now=3 * 86_400 + 10)
    assert "running  3 d 0 h" in shown.splitlines()[0]
    pay = line(shown, "pay")
    assert pay[:2] == ["pay", "waiting"]
    assert "…" in pay
    assert "3 d 0 h … " in shown
    assert pay[-1] == "░" * 48


def test_a_clock_here_that_is_behind_those_of_the_engine_ends_the_run_at_its_last_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for rows in ([BEGUN, WAITS], [BEGUN, WAITS, PAID]):
        shown = drawn(monkeypatch, rows, now=-60)
        assert line(shown, "reserve")[-1].startswith("█")
    assert shown.splitlines()[0].startswith("order/A-1  running  1 min 40 s")


def test_json_is_what_the_api_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(drawn(monkeypatch, WHOLE, "--json"))
    assert [each["name"] for each in found["lanes"]] == ["reserve", "pay", "ship"]
    (pay,) = found["lanes"][1]["bars"]
    assert (pay["kind"], pay["begin"][14:19], pay["end"][14:19], pay["then"]) == ("wait", "13:30", "15:00", "done")


def test_a_run_whose_beginning_was_not_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "of the newest 4 decisions only" in drawn(monkeypatch, WHOLE[2:])


def test_a_start_that_was_denied_has_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`saga history order/A-1` shows" in drawn(monkeypatch, [row(0, status=None)])
