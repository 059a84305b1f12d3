"""``saga trace``: one run as bars over time, drawn from its history. It needs no collector of traces.

A step is a row from its first change to its last. Within its bar ``█`` is a command at a worker, ``▒`` one of its undo,
``░`` a wait: for an event, a person, a child, a lock, the next attempt, or an operator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Final

import typer
from rich.console import Group
from rich.text import Text

from ..messages.document import Status, StepStatus
from .options import Remote
from .output import grid, print_out, status_text
from .pages import gather
from .paths import instance_path
from .remote import Json

__all__ = ["Bar", "bars_of", "trace"]

_DECISIONS_MAX: Final = 100_000
_COLUMNS: Final = 48
_FACTS: Final = frozenset(
    {"instance", "paused", "phase", "version", "overdue", "itinerary", "state", "restart", "fork", "denied"}
)
"""Changes that are about the instance and not about a step."""
_AT_WORK: Final = {StepStatus.SENT: "█", StepStatus.UNDO_SENT: "▒"}
_LIVE: Final = frozenset(status.value for status in StepStatus if status.is_live)


@dataclass(slots=True)
class Bar:
    """What happened to one step, or to the instance: from each time on, milliseconds since epoch, that status."""

    name: str
    changes: list[tuple[float, str]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return self.changes[-1][1]

    def end_ms(self, now_ms: float) -> float:
        """When it ended; for a live one, now."""
        return now_ms if self.status in _LIVE else self.changes[-1][0]

    def spans(self, now_ms: float) -> Iterable[tuple[float, float, str]]:
        """Begin, end and status of each part in which it was live."""
        for (begin, status), (end, _) in pairwise([*self.changes, (self.end_ms(now_ms), "")]):
            if status in _LIVE:
                yield begin, end, status


def trace(remote: Remote, instance: str, *, as_json: bool) -> None:
    """Prints the bars of one run.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    rows, _ = gather(remote, f"{instance_path(instance)}/history", "decisions", _DECISIONS_MAX, marks=("after", "next"))
    whole, *steps = bars_of(rows)
    ended = Status(whole.status).is_final if whole.changes else True
    now_ms = max([_ms(row["at"]) for row in rows], default=0.0) if ended else _now_ms()
    if as_json:
        typer.echo(json.dumps({"instance": instance, "steps": [_as_json(bar, now_ms) for bar in steps]}))
        return
    print_out(_drawing(instance, rows, [whole, *steps], now_ms))


def bars_of(rows: Iterable[Json]) -> list[Bar]:
    """The instance first, then each step in the order of its beginning. Of a key that began anew, its last life."""
    whole, steps = Bar("run"), dict[str, Bar]()
    for row in rows:
        at_ms = _ms(row["at"])
        for change in row["changes"]:
            what, before, after = change["what"], change["before"], change["after"]
            if what == "instance":
                if before is None:
                    whole, steps = Bar("run"), {}
                whole.changes.append((at_ms, after))
            elif what not in _FACTS:
                steps.setdefault(what, Bar(what)).changes.append((at_ms, after))
    return [whole, *steps.values()]


def _drawing(instance: str, rows: list[Json], bars: list[Bar], now_ms: float) -> Group:
    whole, *steps = bars
    if not whole.changes:
        return Group(Text(f"{instance} has no run in its history; `saga history {instance}` shows what was denied"))
    begin_ms = whole.changes[0][0]
    length_ms = max(1.0, now_ms - begin_ms)
    head = (
        Text(f"{instance}  ", style="bold")
        .append_text(status_text(whole.status))
        .append(f"  {_span(now_ms - begin_ms)}")
    )
    if trace_ids := [row["trace_id"] for row in rows if row["trace_id"] is not None]:
        head.append(f"  trace {trace_ids[-1]}", style="dim")
    table = grid("step", "status", "began", "took", "at workers", "waited", "")
    for bar in steps:
        spans = list(bar.spans(now_ms))
        worked = sum(end - begin for begin, end, status in spans if status in _AT_WORK)
        waited = sum(end - begin for begin, end, status in spans if status not in _AT_WORK)
        begun = bar.changes[0][0]
        table.add_row(
            Text(bar.name),
            status_text(bar.status),
            f"+{_span(begun - begin_ms)}",
            _span(bar.end_ms(now_ms) - begun) + (" …" if bar.status in _LIVE else ""),
            _span(worked) if worked else "",
            _span(waited) if waited else "",
            Text(_line(bar, spans, begin_ms, length_ms)),
        )
    return Group(head, table)


def _line(bar: Bar, spans: list[tuple[float, float, str]], begin_ms: float, length_ms: float) -> str:
    """The bar itself: each part at least one column wide, so that nothing short is left out."""

    def column(at_ms: float) -> int:
        return int((at_ms - begin_ms) / length_ms * _COLUMNS)

    cells = [" "] * (_COLUMNS + 1)
    cells[column(bar.changes[0][0])] = "│"
    for begin, end, status in spans:
        first, last = column(begin), column(end)
        for place in range(first, max(last, first + 1)):
            cells[place] = _AT_WORK.get(StepStatus(status), "░")
    return "".join(cells).rstrip()


def _as_json(bar: Bar, now_ms: float) -> Json:
    changes = [{"at_ms": round(at_ms), "status": status} for at_ms, status in bar.changes]
    return {"step": bar.name, "status": bar.status, "ends_ms": round(bar.end_ms(now_ms)), "changes": changes}


def _span(ms: float) -> str:
    """A duration in its two largest units."""
    if ms < 1_000:
        return f"{ms:.0f} ms"
    seconds = ms / 1_000
    for unit, size, below in (("d", 86_400, "h"), ("h", 3_600, "min"), ("min", 60, "s")):
        if seconds >= size:
            rest = (seconds % size) // {"h": 3_600, "min": 60, "s": 1}[below]
            return f"{seconds // size:.0f} {unit} {rest:.0f} {below}"
    return f"{seconds:.1f} s"


def _ms(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() * 1_000


def _now_ms() -> float:
    from ..wiring import now_ms

    return float(now_ms())
