"""Builds the graph of a definition: how each kind of node is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ..definition import AnyDefinition
from ..nodes import Ask, Child, Choose, Each, Emit, Fail, Loop, Node, Parallel, Pivot, Route, Scatter, Sleep, Step, Wait
from ..process_manager import ProcessManager
from ..routing_slip import RoutingSlip
from ..saga import Saga
from .managers import draw_manager
from .model import Graph
from .sketch import Ends, Sketch, span
from .slips import draw_slip

__all__ = ["graph_of"]


def graph_of(definition: AnyDefinition) -> Graph:
    """The graph of the whole definition, with its children and parts inside it.

    Raises:
        TypeError: not a saga, a process manager or a routing slip.
    """
    sketch = Sketch()
    if isinstance(definition, Saga):
        _Flow(sketch).saga(definition, named=True)
    elif isinstance(definition, ProcessManager):
        draw_manager(sketch, definition)
    elif isinstance(definition, RoutingSlip):
        draw_slip(sketch, definition)
    else:
        raise TypeError(f"{definition!r} cannot be drawn; give a saga, a process manager or a routing slip")
    return sketch.graph(definition.name, definition.version)


@dataclass
class _Flow:
    """Draws flows. ``ends`` are the open edges that lead to the next node."""

    sketch: Sketch
    named: bool = True
    inside: list[str] = field(default_factory=list)

    def saga(self, saga: Saga[Any], *, named: bool) -> None:
        self.named = named
        start = self.sketch.vertex("start", "", "start")
        ends = self.flow(saga.flow, [(start, "")])
        self.sketch.join(ends, self.sketch.vertex("end", "", "end"))

    def flow(self, nodes: Sequence[Node[Any]], ends: Ends) -> Ends:
        for node in nodes:
            ends = self.node(node, ends)
        return ends

    def name(self, node: Node[Any]) -> str:
        """The node's name; empty inside a child, whose nodes have no status in the parent's document."""
        return node.name if self.named else ""

    def node(self, node: Node[Any], ends: Ends) -> Ends:
        match node:
            case Step():
                vertex = self.sketch.step(node, self.name(node))
            case Pivot():
                vertex = self.sketch.vertex("pivot", self.name(node), "pivot", "forward only from here")
            case Parallel():
                return self._parallel(node, ends)
            case Choose():
                return self._choose(node, ends)
            case Route():
                return self._route(node, ends)
            case Loop():
                return self._loop(node, ends)
            case Scatter():
                return self._scatter(node, ends)
            case Child():
                return self._child(node, node.child, f"run {node.child.name}", _within(node.timeout), ends)
            case Each():
                more = [f"{node.options.concurrency} at once", f"{node.options.tolerate} may fail"]
                return self._child(node, node.part, f"each {node.part.name}", more, ends)
            case Wait():
                vertex = self._wait(node)
            case Sleep():
                length = span(node.duration) if isinstance(node.duration, timedelta) else "duration from the state"
                vertex = self.sketch.vertex("sleep", self.name(node), node.name, f"sleeps {length}")
            case Ask():
                form = node.options.form.__name__
                vertex = self.sketch.vertex("ask", self.name(node), node.name, f"asks for {form}", *_ask(node))
            case Emit():
                vertex = self.sketch.vertex("event", self.name(node), node.name, f"emits {node.event.name}")
            case Fail():
                vertex = self.sketch.vertex("fail", self.name(node), node.name, f"ends as {node.code}")
                self.sketch.join(ends, vertex)
                return []
            case _:
                raise TypeError(f"{node!r} cannot be drawn")
        self.sketch.join(ends, vertex)
        return [(vertex, "")]

    def _wait(self, node: Wait[Any]) -> str:
        events = [each.event.name for each in node.expected]
        what = f" {'and' if node.options.need == 'all' else 'or'} ".join(events)
        late = "then it fails" if node.options.on_timeout == "fail" else "then it continues"
        within = f"within {span(node.options.timeout)}, {late}"
        return self.sketch.vertex("wait", self.name(node), node.name, f"waits for {what}", within)

    def _parallel(self, node: Parallel[Any], ends: Ends) -> Ends:
        options, count = node.options, len(node.branches)
        need = "all" if options.need == count else f"{options.need} of {count}"
        rest = [] if options.need == count else [f"remaining branches: {options.rest}"]
        with self.sketch.group(f"parallel {node.name}"):
            fork = self.sketch.vertex("fork", self.name(node), node.name, f"needs {need}", *rest)
            self.sketch.join(ends, fork)
            done = [end for branch in node.branches for end in self.flow(branch.nodes, [(fork, "")])]
            if options.undo == "parallel":
                self.sketch.add_line(fork, "undone in parallel")
            join = self.sketch.vertex("join", "", "")
            self.sketch.join(done, join)
        return [(join, "")]

    def _choose(self, node: Choose[Any], ends: Ends) -> Ends:
        choice = self.sketch.vertex("choice", self.name(node), node.name)
        self.sketch.join(ends, choice)
        done = [end for branch in node.branches for end in self.flow(branch.nodes, [(choice, branch.label)])]
        return done if node.otherwise else [*done, (choice, "none")]

    def _route(self, node: Route[Any], ends: Ends) -> Ends:
        choice = self.sketch.vertex("choice", self.name(node), node.name, f"from table {node.table}")
        self.sketch.join(ends, choice)
        done = [end for branch in node.branches for end in self.flow(branch.nodes, [(choice, branch.label)])]
        return done if node.otherwise is not None else [*done, (choice, "no rule")]

    def _loop(self, node: Loop[Any], ends: Ends) -> Ends:
        with self.sketch.group(f"loop {node.name}"):
            again = self.sketch.vertex("loop", self.name(node), node.name, f"at most {node.rounds_max} rounds")
            self.sketch.join(ends, again)
            self.sketch.join(self.flow(node.nodes, [(again, "again")]), again)
        return [(again, "done")]

    def _scatter(self, node: Scatter[Any], ends: Ends) -> Ends:
        options = node.options
        need = "all" if options.need == len(node.legs) else str(options.need)
        best = ["takes the best"] if options.best else []
        with self.sketch.group(f"scatter {node.name}"):
            fork = self.sketch.vertex(
                "fork", self.name(node), node.name, f"needs {need}, at least {options.at_least}", *best
            )
            self.sketch.join(ends, fork)
            join = self.sketch.vertex("join", "", "", f"within {span(options.deadline)}")
            for leg in node.legs:
                self.sketch.join(self.flow([leg], [(fork, "")]), join)
        return [(join, "")]

    def _child(self, node: Node[Any], child: Saga[Any], title: str, more: Sequence[str], ends: Ends) -> Ends:
        with self.sketch.group(title):
            vertex = self.sketch.vertex("fork", self.name(node), node.name, *more)
            self.sketch.join(ends, vertex)
            if child.name in self.inside:
                return [(vertex, "")]
            inner = _Flow(self.sketch, named=False, inside=[*self.inside, child.name])
            return inner.flow(child.flow, [(vertex, "")])


def _within(timeout: timedelta | None) -> list[str]:
    return [] if timeout is None else [f"within {span(timeout)}"]


def _ask(node: Ask[Any]) -> list[str]:
    options = node.options
    more = [f"within {span(options.due)}"]
    if options.escalation is not None:
        more.append(f"after {span(options.escalation.after)} also {', '.join(options.escalation.to)}")
    return more
