"""Restart from a step: that step and all later ones are undone and run again.

- A restart is denied while an effect without an undo is outstanding from the step on, also one that a fork has taken
  over from its origin. So a restart never does anything twice.
- First the undos run, in reverse order of completion, with retries and ``attention`` as in any compensation. Then the
  records of those steps are removed, the patch is applied, and the flow continues from the step.
- The steps run as the next generation, with new effect keys and command ids (``{instance}/charge+1``), because workers
  have closed the old ones. Late replies to the old ones are ignored (G3, G8).
"""

from __future__ import annotations

from ...sagas import Saga
from ...sagas.definition import AnyDefinition
from ..messages.document import CauseKind, Document, Restarting, StepRecord
from ..messages.inputs import Act
from ..messages.outputs import Change
from ..messages.reasons import Reason, invalid, not_now
from .compensation import unwind
from .context import DecisionContext
from .editing import patch_of, patched, set_state, unknown
from .locking import release_all
from .outstanding import done_by, is_outstanding
from .places import name_of
from .waiting import drop_wait

__all__ = ["no_begin_here", "restart", "restart_objection", "rewound"]


def restart(ctx: DecisionContext, act: Act) -> Reason | None:
    """Begins the restart; the caller moves the instance on. Returns the reason if it is denied; None: it has begun."""
    if (reason := restart_objection(ctx.definition, ctx.document, act.step)) is not None:
        return reason
    value = act.value or {}
    if (reason := unknown(value, "a restart", ("patch",))) is not None:
        return reason
    patch = patch_of(value)
    if isinstance(patch, Reason):
        return patch
    state = patched(ctx, ctx.state, patch)
    if isinstance(state, Reason):
        return state
    step = name_of(act.step)
    ctx.restarting = Restarting(step=step, patch=None if patch is None else tuple(patch))
    ctx.changes.append(Change(what="restart", before=None, after=step))
    return None


def restart_objection(definition: AnyDefinition, document: Document, place: str) -> Reason | None:
    """Why a restart from a place on record is denied, for an instance that needs attention and goes forward; None: it
    is allowed.
    """
    if (reason := no_begin_here(definition, place, "restart")) is not None:
        return reason
    text = _why_not(definition, document, place)
    return None if text is None else not_now(text)


def _why_not(definition: AnyDefinition, document: Document, place: str) -> str | None:
    under_way = document.restarting
    if under_way is not None and not definition.tree.from_on(name_of(place), under_way.step):
        return f"a restart from {under_way.step!r} is in progress; restart from there, or from a step before it"
    start = name_of(place)
    if document.pivot_passed and not definition.tree[start].past_pivot:
        return f"it is past its pivot, and {place!r} is before the pivot"
    standing = [
        f"{other} ({what})"
        for other, record in document.steps.items()
        if definition.tree.from_on(start, name_of(other)) and (what := _stays(definition, other, record)) is not None
    ]
    if standing:
        return f"there is no undo for {', '.join(standing)}; restart from a later step, or retry or skip it"
    return None


def _stays(definition: AnyDefinition, place: str, record: StepRecord) -> str | None:
    """What a restart would do twice at a place; None: it has no effect, or an undo."""
    if (origin := done_by(definition, place, record)) is not None:
        return f"taken over from {origin}"
    return record.status.value if record.undo is None and is_outstanding(definition, place, record) else None


def no_begin_here(definition: AnyDefinition, place: str, act: str) -> Reason | None:
    """Why an instance cannot begin at a place; None: it can. A place inside a branch is no start for the others."""
    if not isinstance(definition, Saga):
        return invalid("only a saga can be restarted or forked from a step")
    path = definition.tree[name_of(place)].path
    return invalid(f"{place!r} is inside {path[0][0].name!r}; {act} from there") if path else None


def rewound(ctx: DecisionContext) -> bool:
    """Continues a restart. True: everything is undone and removed, and the flow continues from its step."""
    start = ctx.restarting
    assert start is not None
    back = [place for place in ctx.steps if ctx.rewinds(place)]
    if not unwind(ctx, back) or ctx.stopped:
        return False
    if start.patch is not None:
        state = patched(ctx, ctx.state, start.patch)
        if isinstance(state, Reason):
            message = f"the patch of the restart from {start.step!r} no longer fits: {state.text}"
            ctx.stop(CauseKind.CODE, f"{message}; restart with another patch", step=start.step)
            return False
        if state != ctx.state:
            set_state(ctx, state)
    for place in back:
        _forget(ctx, place)
    ctx.restarts += 1
    ctx.restarting = None
    ctx.changes.append(Change(what="restart", before=start.step, after="over"))
    return True


def _forget(ctx: DecisionContext, place: str) -> None:
    drop_wait(ctx, place)
    if "lock" in ctx.memo(place):
        release_all(ctx, place)
    del ctx.steps[place]
