"""Draws a routing slip: its stops in the order of their declaration, and which stops may revise the itinerary.

Each instance has its own itinerary; the edges show the default one.
"""

from __future__ import annotations

from ..routing_slip import AnySlip
from .sketch import Ends, Sketch

__all__ = ["draw_slip"]


def draw_slip(sketch: Sketch, slip: AnySlip) -> None:
    """Draws the whole slip."""
    start = sketch.vertex("start", "", "start")
    hops = "returns after each stop" if slip.hops == 1 else f"returns after {slip.hops} stops"
    planned = ["each instance has its own plan"] if slip.planned is not None else []
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
