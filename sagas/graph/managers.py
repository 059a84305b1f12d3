"""Draws a process manager: which handlers run in which phase, and the steps that handlers may start.

The next phase is known only when a handler runs, so edges lead from phases to handlers and not further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..process_manager import AnyManager, Handler
from .sketch import Sketch

__all__ = ["draw_manager"]


def draw_manager(sketch: Sketch, manager: AnyManager) -> None:
    """Draws the whole process manager."""
    handlers = _handlers(manager)
    phases = sorted({phase for _, _, found in handlers for each in found for phase in each.when or ()})
    with sketch.group("phases"):
        at = {phase: sketch.vertex("phase", "", phase) for phase in phases}
        at[""] = sketch.vertex("phase", "", "any phase") if _anywhere(handlers) else ""
    with sketch.group("steps"):
        steps = {name: sketch.step(step, name) for name, step in manager.steps.items()}
    for name, subscription in manager.subscriptions.items():
        if subscription.starts is not None:
            start = sketch.vertex("event", "", name, "starts it")
            sketch.join([(start, "")], sketch.vertex("handler", "", _called(subscription.starts)))
    for what, name, found in handlers:
        for each in found:
            handler = sketch.vertex("handler", "", _called(each.function))
            for phase in sorted(each.when) if each.when is not None else [""]:
                sketch.join([(at[phase], f"{what} {name}".strip())], handler)
            if name in steps and what in ("done", "failed"):
                sketch.join([(steps[name], what)], handler)


def _handlers(manager: AnyManager) -> list[tuple[str, str, Sequence[Handler]]]:
    events = [("event", name, each.handlers) for name, each in manager.subscriptions.items() if each.handlers]
    done = [("done", name, found) for name, found in manager.done.items()]
    failed = [("failed", name, found) for name, found in manager.failed.items()]
    return [*events, *done, *failed, *(("timer", name, found) for name, found in manager.timers.items())]


def _anywhere(handlers: Sequence[tuple[str, str, Sequence[Handler]]]) -> bool:
    return any(each.when is None for _, _, found in handlers for each in found)


def _called(function: Any) -> str:
    return str(getattr(function, "__name__", "handler"))
