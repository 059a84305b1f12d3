"""How a routing slip is drawn: its stops in the order of their declaration, and who may change it.

An itinerary is an instance's own; so the edges show the usual one.
"""

from __future__ import annotations

from ..routing_slip import AnySlip
from .sketch import Ends, Sketch

__all__ = ["draw_slip"]


def draw_slip(sketch: Sketch, slip: AnySlip) -> None:
    """Adds everything of it."""
    start = sketch.vertex("start", "", "start")
    hops = "comes home after each stop" if slip.hops == 1 else f"comes home after {slip.hops} stops"
    planned = ["each instance plans its own way"] if slip.planned is not None else []
    with sketch.group(f"itinerary of {slip.name}"):
        home = sketch.vertex("fork", "", "itinerary", hops, *planned)
        sketch.join([(start, "")], home)
        ends: Ends = [(home, "")]
        for name, step in slip.steps.items():
            at = sketch.step(step, name)
            sketch.join(ends, at)
            ends = [(at, "")]
            if slip.stops[name].revises is not None:
                sketch.join([(at, "may revise")], home)
    sketch.join(ends, sketch.vertex("end", "", "end"))
