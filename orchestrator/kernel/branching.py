"""Nodes that contain others: ``choose``, ``loop``, ``parallel``, ``scatter``; and how a scatter gathers answers."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from ...sagas.models import read
from ...sagas.nodes import OTHERWISE, Choose, Loop, Scatter
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, StepStatus
from .asking import Nothing, ask
from .context import DecisionContext
from .failure import fail
from .places import place_of, rounds_of
from .results import a_cost, a_truth
from .sending import ask_leg, leg_of

__all__ = [
    "begin_choose",
    "begin_loop",
    "begin_parallel",
    "begin_scatter",
    "gather_scatter",
    "next_round",
    "on_scatter_deadline",
]


def begin_choose(ctx: DecisionContext, place: str, node: Choose[Any]) -> None:
    """Chooses a branch; the choice is recorded and never made again."""
    label = ask(ctx, place, f"a case of choose {place!r}", lambda: _chosen(ctx, node))
    if not isinstance(label, Nothing):
        ctx.mark(place, StepStatus.DONE, memo={"branch": label})


def _chosen(ctx: DecisionContext, node: Choose[Any]) -> str | None:
    model = ctx.model()
    for case in node.cases:
        if a_truth(case.predicate(model)):
            return case.label
    return OTHERWISE if node.otherwise else None


def begin_loop(ctx: DecisionContext, place: str, node: Loop[Any]) -> None:
    """Decides whether there is a first round. After an operator's retry all rounds are available again."""
    record = ctx.steps.get(place)
    rounds = int(str((record.memo or {}).get("rounds", 0))) if record else 0
    goes_on = ask(ctx, place, f"while of loop {place!r}", lambda: a_truth(node.predicate(ctx.model())))
    if isinstance(goes_on, Nothing):
        return
    memo: dict[str, JsonValue] = {"rounds": rounds + goes_on, "most": rounds + node.rounds_max}
    ctx.mark(place, StepStatus.WAITING if goes_on else StepStatus.DONE, memo=memo)


def next_round(ctx: DecisionContext, place: str, node: Loop[Any]) -> None:
    """Ends a round: begins the next one, or ends the loop."""
    goes_on = ask(ctx, place, f"while of loop {place!r}", lambda: a_truth(node.predicate(ctx.model())))
    if isinstance(goes_on, Nothing):
        return
    memo = ctx.memo(place)
    rounds = int(str(memo["rounds"]))
    if not goes_on:
        ctx.mark(place, StepStatus.DONE)
    elif rounds >= int(str(memo["most"])):
        message = f"loop {place!r} has run {rounds} rounds, the maximum, and its condition still holds"
        ctx.mark(place, StepStatus.FAILED, error=message)
        fail(ctx, place, CauseKind.ROUNDS, message)
    else:
        ctx.remember(place, memo | {"rounds": rounds + 1})


def begin_parallel(ctx: DecisionContext, place: str) -> None:
    """Begins a parallel; its branches begin next."""
    ctx.mark(place, StepStatus.WAITING, memo={"lost": {}})


def begin_scatter(ctx: DecisionContext, place: str, node: Scatter[Any]) -> None:
    """Asks every queue; after an operator's retry only those that have not answered."""
    ctx.mark(place, StepStatus.WAITING, memo={})
    ctx.timers[f"{place}:deadline"] = ctx.now_ms + to_ms(node.options.deadline)
    for leg in node.legs:
        at = place_of(leg.name, rounds_of(place))
        record = ctx.steps.get(at)
        if ctx.status.is_final or (record is not None and record.status is StepStatus.DONE):
            continue
        ask_leg(ctx, leg_of(leg, at, undo=False))


def on_scatter_deadline(ctx: DecisionContext, place: str) -> None:
    """The deadline passed: the scatter uses the answers received so far."""
    ctx.remember(place, ctx.memo(place) | {"over": True})


def gather_scatter(ctx: DecisionContext, place: str, node: Scatter[Any]) -> None:
    """Ends a scatter when it has enough answers, can get no more, or its deadline has passed."""
    legs = [place_of(leg.name, rounds_of(place)) for leg in node.legs]
    there = sorted(
        (at for at in legs if ctx.steps[at].status is StepStatus.DONE), key=lambda at: ctx.steps[at].order or 0
    )
    out = [at for at in legs if _is_out(ctx.steps[at].status)]
    over = bool(ctx.memo(place).get("over"))
    options = node.options
    if len(there) < options.need and len(there) + len(out) < len(legs) and not over:
        return
    ctx.clear_timers(place)
    for at in legs:
        if ctx.steps[at].status in (StepStatus.SENT, StepStatus.BLOCKED):
            ctx.mark(at, StepStatus.DROPPED)
    if len(there) < options.at_least:
        kind = CauseKind.TIMEOUT if over else CauseKind.REJECTED
        message = f"{len(there)} of {len(legs)} answers, at least {options.at_least} are needed"
        ctx.mark(place, StepStatus.FAILED, error=message)
        fail(ctx, place, kind, message)
        return
    answers = ask(ctx, place, f"best of scatter {place!r}", lambda: _answers(ctx, node, there))
    if isinstance(answers, Nothing):
        return
    ctx.put(options.into, answers)
    ctx.mark(place, StepStatus.DONE)


def _is_out(status: StepStatus) -> bool:
    return status in (StepStatus.REJECTED, StepStatus.FAILED, StepStatus.DROPPED)


def _answers(ctx: DecisionContext, node: Scatter[Any], there: list[str]) -> JsonValue:
    answers: list[JsonValue] = [(ctx.steps[at].memo or {})["reply"] for at in there[: node.options.need]]
    best = node.options.best
    if best is None:
        return answers
    reply = node.contract.reply
    return min(answers, key=lambda each: a_cost(best(read(reply, each))))
