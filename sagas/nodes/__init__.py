"""The nodes of a flow. Each docstring says what happens on success, rejection (``Rejected``), exhaustion (all
attempts used up), timeout, cancel and undo; docs/nodes.md has the whole table.
"""

from .ask import Ask, Escalation, ask
from .base import Branch, Node
from .choose import OTHERWISE, Choose, When, choose, when
from .each import Each, each
from .emit import Emit, emit
from .fail import Fail, fail
from .loop import Loop, loop
from .parallel import Parallel, parallel
from .pivoting import Pivot, pivot
from .route import Facts, Route, route
from .run import Child, run
from .scatter import Scatter, scatter
from .sleep import Sleep, sleep
from .step import Step, Undo, step
from .wait import Expected, Wait, expect, wait

__all__ = [
    "OTHERWISE",
    "Ask",
    "Branch",
    "Child",
    "Choose",
    "Each",
    "Emit",
    "Escalation",
    "Expected",
    "Facts",
    "Fail",
    "Loop",
    "Node",
    "Parallel",
    "Pivot",
    "Route",
    "Scatter",
    "Sleep",
    "Step",
    "Undo",
    "Wait",
    "When",
    "ask",
    "choose",
    "each",
    "emit",
    "expect",
    "fail",
    "loop",
    "parallel",
    "pivot",
    "route",
    "run",
    "scatter",
    "sleep",
    "step",
    "wait",
    "when",
]
