"""Operators' acts on one step: answer, claim or assign a question, skip a step with a given reply, waive a failed undo
or replace it by another command.

Each function returns the reason why the act is denied, and then has changed nothing; None: done, and the caller moves
the instance on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from pydantic import BaseModel, ValidationError

from ...sagas import Step
from ...sagas.models import mistakes, read_foreign
from ...sagas.nodes import Ask
from ..messages.document import StepRecord, StepStatus
from ..messages.inputs import Act, ActName
from ..messages.keys import key_wrong
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from ..messages.values import JsonObject
from .context import DecisionContext, as_json, said
from .editing import unknown
from .outstanding import SKIPPED_BY
from .sending import INSTEAD
from .slip import carried, gone_past, is_slip

__all__ = ["STEP_ACTS", "StepAct"]

StepAct: TypeAlias = Callable[[DecisionContext, Act], Reason | None]


def _answer(ctx: DecisionContext, act: Act) -> Reason | None:
    """Answers a question, by one who may."""
    node, record = ctx.node(act.step), ctx.steps[act.step]
    if not isinstance(node, Ask):
        return invalid(f"step {act.step!r} is not a question")
    if (reason := _may_not(record, act)) is not None:
        return reason
    form = _valid(node.options.form, act.value)
    if isinstance(form, str):
        return invalid(f"the answer does not fit {node.options.form.__name__}: {form}")
    ctx.clear_timers(act.step)
    ctx.put(node.options.into, form)
    ctx.mark(act.step, StepStatus.DONE, memo=ctx.memo(act.step) | {"answered_by": act.by})
    return None


def _claim(ctx: DecisionContext, act: Act) -> Reason | None:
    """Claims a question: from now on only the claimer may answer it."""
    if (reason := _no_question(ctx, act)) is not None:
        return reason
    if (reason := _may_not(ctx.steps[act.step], act)) is not None:
        return reason
    ctx.remember(act.step, ctx.memo(act.step) | {"claimed_by": act.by})
    return None


def _assign(ctx: DecisionContext, act: Act) -> Reason | None:
    """Assigns a question to a person, who then has claimed it."""
    if (reason := _no_question(ctx, act)) is not None:
        return reason
    to = (act.value or {}).get("to")
    if not isinstance(to, str) or not to:
        return invalid('the assignee is missing; give {"to": name}')
    if (wrong := key_wrong(to)) is not None:
        return invalid(f"the assignee {wrong}")
    memo = ctx.memo(act.step)
    ctx.remember(act.step, memo | {"who": list(dict.fromkeys([*_who(memo), to])), "claimed_by": to})
    return None


def _no_question(ctx: DecisionContext, act: Act) -> Reason | None:
    if not isinstance(ctx.node(act.step), Ask):
        return invalid(f"step {act.step!r} is not a question")
    if ctx.steps[act.step].status is not StepStatus.WAITING:
        return _closed(act, ctx.steps[act.step])
    return None


def _may_not(record: StepRecord, act: Act) -> Reason | None:
    memo = record.memo or {}
    claimed, who = memo.get("claimed_by"), _who(memo)
    if record.status is not StepStatus.WAITING:
        return _closed(act, record)
    asking = {act.by, *act.groups}
    if claimed is not None and claimed not in asking:
        text = f"{claimed} has claimed question {act.step!r}; have it assigned to {act.by or 'you'}"
        return Reason(ReasonCode.NOT_PERMITTED, text)
    if asking.isdisjoint(who):
        text = f"{act.by or 'an anonymous user'} may not answer {act.step!r}; it is for {', '.join(who)}"
        return Reason(ReasonCode.NOT_PERMITTED, text)
    return None


def _closed(act: Act, record: StepRecord) -> Reason:
    return not_now(f"question {act.step!r} is closed: it is {record.status}")


def _who(memo: JsonObject) -> list[str]:
    who = memo.get("who")
    return [str(name) for name in who] if isinstance(who, list) else []


def _skip(ctx: DecisionContext, act: Act) -> Reason | None:
    """Marks a step as done, with a reply from the operator. Its undo still runs if the instance is compensated."""
    node, record = ctx.node(act.step), ctx.steps[act.step]
    if not isinstance(node, Step):
        return invalid(f"{act.step!r} is not a step with a command; only those can be skipped")
    if ctx.unwinds(act.step):
        return not_now(f"step {act.step!r} is being undone")
    if carried(record):
        text = f"the slip has not reached {act.step!r} yet; skip the stop where it is now, or revise the stops ahead"
        return not_now(text)
    if not (record.status.is_attempting or record.status.is_stuck):
        return not_now(f"step {act.step!r} is {record.status}; only a step in progress or stuck can be skipped")
    into = node.options.into
    reply = _valid(node.contract.reply, act.value) if into is not None or act.value is not None else None
    if isinstance(reply, str):
        return invalid(f"the reply does not fit {node.contract.reply.__name__}: {reply}")
    ctx.clear_timers(act.step)
    memo: JsonObject = {**ctx.memo(act.step), SKIPPED_BY: act.by}
    if node.is_query:  # the scatter gathers the answer from here
        memo["reply"] = reply
    ctx.mark(act.step, StepStatus.DONE, memo=memo)
    if into is not None and reply is not None:
        ctx.put(into, reply)
    if is_slip(ctx):
        gone_past(ctx, act.step)
    return None


def _waive(ctx: DecisionContext, act: Act) -> Reason | None:
    """Accepts the effect of a step whose undo failed as a loss; compensation continues without it."""
    record = ctx.steps[act.step]
    if record.status is not StepStatus.UNDO_FAILED:
        return not_now(f"the undo of step {act.step!r} has not failed: it is {record.status}")
    if not act.reason.strip():
        return invalid("the reason is missing; say who bears the loss and where that is recorded")
    ctx.mark(act.step, StepStatus.WAIVED, memo=ctx.memo(act.step) | {"waived_by": act.by, "evidence": act.reason})
    return None


def _replace_undo(ctx: DecisionContext, act: Act) -> Reason | None:
    """Tries a failed undo with another command, by its own contract or another one of the definition.

    It is the next attempt under the same effect key, and remains the step's undo until it is replaced again.
    """
    node, record, value = ctx.node(act.step), ctx.steps[act.step], act.value or {}
    if record.status is not StepStatus.UNDO_FAILED:
        return not_now(f"the undo of step {act.step!r} has not failed: it is {record.status}")
    if not isinstance(node, Step):
        return invalid(f"the undo of {act.step!r} is not a command; act on its child instances")
    if (reason := unknown(value, "an undo", ("contract", "command"))) is not None:
        return reason
    name, command = value.get("contract", record.undo), value.get("command")
    contract = ctx.definition.contract(name)
    if contract is None:
        names = ", ".join(each.name for each in ctx.definition.contracts)
        return invalid(f"{ctx.definition!r} has no contract {name!r}; it has {names}")
    if not isinstance(command, dict):
        return invalid('the command is missing; give {"command": {…}}, and "contract" if it is another one')
    payload = _valid(contract.command, command)
    if isinstance(payload, str):
        return invalid(f"the command does not fit {contract.command.__name__}: {payload}")
    instead: JsonObject = {"contract": contract.name, "command": payload, "by": act.by}
    ctx.steps[act.step] = replace(record, undo=contract.name)
    ctx.remember(act.step, ctx.memo(act.step) | {INSTEAD: instead})
    return None


def _valid(model: type[BaseModel], value: JsonObject | None) -> JsonObject | str:
    """The value as JSON of the model, or what is wrong with it. The author's validators may raise anything."""
    try:
        return as_json(read_foreign(model, value or {}), model)
    except ValidationError as error:
        return mistakes(error, "value")
    except Exception as error:
        return f"it raised {said(error)}"


STEP_ACTS: dict[ActName, StepAct] = {
    ActName.ANSWER: _answer,
    ActName.CLAIM: _claim,
    ActName.ASSIGN: _assign,
    ActName.SKIP: _skip,
    ActName.WAIVE: _waive,
    ActName.REPLACE_UNDO: _replace_undo,
}
