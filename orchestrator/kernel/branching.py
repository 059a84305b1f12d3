"""Nodes that hold others: ``choose``, ``loop``, ``parallel``, ``scatter``. How each begins; how a scatter gathers."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from ...sagas.models import read
from ...sagas.nodes import OTHERWISE, Choose, Loop, Scatter
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, StepStatus
from .asking import Nothing, ask
from .places import place_of, rounds_of
from .results import a_cost, a_truth
from .run import Run
from .sending import ask_leg, leg_of
from .turning import fail

__all__ = [
    "begin_choose",
    "begin_loop",
    "begin_parallel",
    "begin_scatter",
    "gather_scatter",
    "next_round",
    "on_scatter_deadline",
]


def begin_choose(run: Run, place: str, node: Choose[Any]) -> None:
    """Chooses, once and for all."""
    label = ask(run, place, f"a case of choose {place!r}", lambda: _chosen(run, node))
    if not isinstance(label, Nothing):
        run.mark(place, StepStatus.DONE, memo={"branch": label})


def _chosen(run: Run, node: Choose[Any]) -> str | None:
    model = run.model()
    for case in node.cases:
        if a_truth(case.predicate(model)):
            return case.label
    return OTHERWISE if node.otherwise else None


def begin_loop(run: Run, place: str, node: Loop[Any]) -> None:
    """Asks whether there is a first round. After an operator's retry it may go as many rounds again."""
    record = run.steps.get(place)
    rounds = int(str((record.memo or {}).get("rounds", 0))) if record else 0
    goes_on = ask(run, place, f"while of loop {place!r}", lambda: a_truth(node.predicate(run.model())))
    if isinstance(goes_on, Nothing):
        return
    memo: dict[str, JsonValue] = {"rounds": rounds + goes_on, "most": rounds + node.rounds_max}
    run.mark(place, StepStatus.WAITING if goes_on else StepStatus.DONE, memo=memo)


def next_round(run: Run, place: str, node: Loop[Any]) -> None:
    """A round is over: the next begins, or the loop has ended."""
    goes_on = ask(run, place, f"while of loop {place!r}", lambda: a_truth(node.predicate(run.model())))
    if isinstance(goes_on, Nothing):
        return
    memo = run.memo(place)
    rounds = int(str(memo["rounds"]))
    if not goes_on:
        run.mark(place, StepStatus.DONE)
    elif rounds >= int(str(memo["most"])):
        message = f"loop {place!r} has gone {rounds} rounds and would go on"
        run.mark(place, StepStatus.FAILED, error=message)
        fail(run, place, CauseKind.ROUNDS, message)
    else:
        run.remember(place, memo | {"rounds": rounds + 1})


def begin_parallel(run: Run, place: str) -> None:
    """All branches begin."""
    run.mark(place, StepStatus.WAITING, memo={"lost": {}})


def begin_scatter(run: Run, place: str, node: Scatter[Any]) -> None:
    """Asks every queue; after an operator's retry those that gave no answer."""
    run.mark(place, StepStatus.WAITING, memo={})
    run.timers[f"{place}:deadline"] = run.now_ms + to_ms(node.options.deadline)
    for leg in node.legs:
        at = place_of(leg.name, rounds_of(place))
        record = run.steps.get(at)
        if run.status.is_final or (record is not None and record.status is StepStatus.DONE):
            continue
        ask_leg(run, leg_of(leg, at, undo=False))


def on_scatter_deadline(run: Run, place: str) -> None:
    """What is there must do."""
    run.remember(place, run.memo(place) | {"over": True})


def gather_scatter(run: Run, place: str, node: Scatter[Any]) -> None:
    """Ends a scatter when it has what it needs, can get no more, or its time is over."""
    legs = [place_of(leg.name, rounds_of(place)) for leg in node.legs]
    there = sorted(
        (at for at in legs if run.steps[at].status is StepStatus.DONE), key=lambda at: run.steps[at].order or 0
    )
    out = [at for at in legs if _is_out(run.steps[at].status)]
    over = bool(run.memo(place).get("over"))
    options = node.options
    if len(there) < options.need and len(there) + len(out) < len(legs) and not over:
        return
    run.clear_timers(place)
    for at in legs:
        if run.steps[at].status in (StepStatus.SENT, StepStatus.BLOCKED):
            run.mark(at, StepStatus.DROPPED)
    if len(there) < options.at_least:
        kind = CauseKind.TIMEOUT if over else CauseKind.REJECTED
        message = f"{len(there)} of {len(legs)} answers, at least {options.at_least} are needed"
        run.mark(place, StepStatus.FAILED, error=message)
        fail(run, place, kind, message)
        return
    answers = ask(run, place, f"best of scatter {place!r}", lambda: _answers(run, node, there))
    if isinstance(answers, Nothing):
        return
    run.put(options.into, answers)
    run.mark(place, StepStatus.DONE)


def _is_out(status: StepStatus) -> bool:
    return status in (StepStatus.REJECTED, StepStatus.FAILED, StepStatus.DROPPED)


def _answers(run: Run, node: Scatter[Any], there: list[str]) -> JsonValue:
    answers: list[JsonValue] = [(run.steps[at].memo or {})["reply"] for at in there[: node.options.need]]
    best = node.options.best
    if best is None:
        return answers
    reply = node.contract.reply
    return min(answers, key=lambda each: a_cost(best(read(reply, each))))
