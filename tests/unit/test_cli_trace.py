"""``saga trace`` draws a run from its history: what worked, what waited, and for how long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator import wiring
from sagaline.orchestrator.cli import pages
from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.options import Remote
from sagaline.orchestrator.cli.trace import bars_of

T0 = 1_700_000_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def row(second: float, *changes: tuple[str, str | None, str]) -> dict[str, Any]:
    """A decision as the API shows it."""
    return {
        "at": datetime.fromtimestamp(T0 + second, UTC).isoformat(),
        "trace_id": TRACE,
        "changes": [{"what": what, "before": before, "after": after} for what, before, after in changes],
    }


BEGUN = row(0, ("instance", None, "running"), ("reserve", None, "sent"))
WAITS = row(10, ("reserve", "sent", "done"), ("pay", None, "waiting"))
OVERDUE = row(50, ("overdue", None, "pay"))
PAID = row(100, ("pay", "waiting", "done"), ("ship", None, "sent"))
REJECTED = row(
    110, ("ship", "sent", "rejected"), ("instance", "running", "compensating"), ("reserve", "done", "undo_sent")
)
ENDED = row(120, ("reserve", "undo_sent", "undone"), ("instance", "compensating", "compensated"))
WHOLE = [BEGUN, WAITS, OVERDUE, PAID, REJECTED, ENDED]


def drawn(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], *more: str, now: float = 120) -> str:
    """What the command prints when the API has this history and the clock shows that second."""

    def request(remote: Remote, method: str, path: str, *, query: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert (method, path) == ("GET", "/v1/instances/order/A-1/history")
        return 200, {"decisions": rows, "next": None}

    monkeypatch.setattr(pages, "request", request)
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


def test_what_has_not_ended_goes_on_until_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of days is drawn as such, although nothing was decided meanwhile."""
    shown = drawn(monkeypatch, [BEGUN, WAITS], now=3 * 86_400 + 10)
    assert "running  3 d 0 h" in shown.splitlines()[0]
    pay = line(shown, "pay")
    assert pay[:2] == ["pay", "waiting"]
    assert "…" in pay
    assert "3 d 0 h … " in shown
    assert pay[-1] == "░" * 48


def test_a_key_that_began_anew_shows_its_last_life_and_facts_are_no_steps() -> None:
    again = [row(500, ("instance", None, "running"), ("pay", None, "waiting"))]
    assert [bar.name for bar in bars_of([*WHOLE, *again])] == ["run", "pay"]
    assert [bar.name for bar in bars_of(WHOLE)] == ["run", "reserve", "pay", "ship"]


def test_json_has_the_changes_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(drawn(monkeypatch, WHOLE, "--json"))
    assert [each["step"] for each in found["steps"]] == ["reserve", "pay", "ship"]
    assert found["steps"][1]["changes"] == [
        {"at_ms": (T0 + 10) * 1_000, "status": "waiting"},
        {"at_ms": (T0 + 100) * 1_000, "status": "done"},
    ]


def test_a_start_that_was_denied_has_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`saga history order/A-1` shows" in drawn(monkeypatch, [row(0)])
