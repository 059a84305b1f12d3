"""``saga trace``: one run as bars over time, drawn from its history. It needs no collector of traces.

A node is a row from its first bar to its last. Within it ``█`` is a command at a worker, ``▒`` one of its undo, ``░`` a
wait: for an event, a person, a child, a lock, the next attempt, or an operator.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

import typer
from rich.console import Group
from rich.text import Text

from .options import Remote
from .output import grid, print_out, status_text
from .paths import instance_path
from .remote import Json, request

__all__ = ["trace"]

_DECISIONS_MAX: Final = 10_000
_COLUMNS: Final = 48
_AT_WORK: Final = {"attempt": "█", "undo": "▒"}


def trace(remote: Remote, instance: str, *, as_json: bool) -> None:
    """Prints the bars of one run.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    _, found = request(remote, "GET", f"{instance_path(instance)}/timeline", query={"limit": _DECISIONS_MAX})
    if as_json:
        typer.echo(json.dumps(found))
    elif found["status"] is None:
        print_out(Text(f"{instance} has no run in its history; `saga history {instance}` shows what was denied"))
    else:
        print_out(_drawing(found))


def _drawing(run: Json) -> Group:
    begin_ms, now_ms = _ms(run["begin"]), _now_ms() if run["end"] is None else _ms(run["end"])
    bars = [bar for lane in run["lanes"] for bar in lane["bars"]]  # by clocks that may be ahead of this one
    now_ms = max(now_ms, *(_ms(at) for bar in bars for at in (bar["begin"], bar["end"]) if at), begin_ms)
    length_ms = max(1.0, now_ms - begin_ms)
    head = (
        Text(f"{run['id']}  ", style="bold")
        .append_text(status_text(run["status"]))
        .append(f"  {_span(now_ms - begin_ms)}")
    )
    if run["trace_id"] is not None:
        head.append(f"  trace {run['trace_id']}", style="dim")
    if not run["whole"]:
        head.append(f"  of the newest {run['decisions']:,} decisions only")
    table = grid("step", "status", "began", "took", "at workers", "waited", "")
    for lane in run["lanes"]:
        spans = [(_ms(bar["begin"]), _ms(bar["end"]) if bar["end"] else now_ms, bar["kind"]) for bar in lane["bars"]]
        worked = sum(end - begin for begin, end, kind in spans if kind in _AT_WORK)
        waited = sum(end - begin for begin, end, kind in spans if kind not in _AT_WORK)
        begun = spans[0][0]
        table.add_row(
            Text("  " * len(lane["within"]) + lane["name"]),
            status_text(lane["status"]),
            f"+{_span(begun - begin_ms)}",
            _span(spans[-1][1] - begun) + (" …" if lane["bars"][-1]["end"] is None else ""),
            _span(worked) if worked else "",
            _span(waited) if waited else "",
            Text(_line(spans, begin_ms, length_ms)),
        )
    return Group(head, table)


def _line(spans: list[tuple[float, float, str]], begin_ms: float, length_ms: float) -> str:
    """The bars of a lane: each at least one column wide, and what was at work over what waited in the same column."""

    def column(at_ms: float) -> int:
        return int((at_ms - begin_ms) / length_ms * _COLUMNS)

    cells = [" "] * (_COLUMNS + 1)
    for begin, end, kind in sorted(spans, key=lambda span: span[2] in _AT_WORK):
        first, last = column(begin), column(end)
        for place in range(first, max(last, first + 1)):
            cells[place] = "│" if kind == "moment" else _AT_WORK.get(kind, "░")
    return "".join(cells).rstrip()


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
