"""Operators' acts on one step: a question is answered, a step is skipped with a given reply, an undo that failed is
replaced by another, a loss is accepted.

Each gives the reason why it is denied, and then has changed nothing; None: it is done, and the caller goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from pydantic import BaseModel, ValidationError

from ...sagas import Step
from ...sagas.models import read_foreign
from ...sagas.nodes import Ask
from ..messages.document import StepRecord, StepStatus
from ..messages.inputs import Act, ActName
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from ..messages.values import JsonObject
from .context import DecisionContext, as_json, said
from .editing import unknown
from .outstanding import SKIPPED_BY
from .sending import INSTEAD
from .slip import carried, gone_past, is_slip

__all__ = ["MENDS", "Mend"]

Mend: TypeAlias = Callable[[DecisionContext, Act], Reason | None]


def _answer(ctx: DecisionContext, act: Act) -> Reason | None:
    """Somebody who may fills the form."""
    node, record = ctx.node(act.step), ctx.steps[act.step]
    if not isinstance(node, Ask):
        return invalid(f"step {act.step!r} asks nobody")
    if (reason := _may_not(record, act)) is not None:
        return reason
    form = _valid(node.options.form, act.value)
    if isinstance(form, str):
        return invalid(f"the answer is no {node.options.form.__name__}: {form}")
    ctx.clear_timers(act.step)
    ctx.put(node.options.into, form)
    ctx.mark(act.step, StepStatus.DONE, memo=ctx.memo(act.step) | {"answered_by": act.by})
    return None


def _claim(ctx: DecisionContext, act: Act) -> Reason | None:
    """From now on only this one may answer."""
    if (reason := _no_question(ctx, act)) is not None:
        return reason
    if (reason := _may_not(ctx.steps[act.step], act)) is not None:
        return reason
    ctx.remember(act.step, ctx.memo(act.step) | {"claimed_by": act.by})
    return None


def _assign(ctx: DecisionContext, act: Act) -> Reason | None:
    """Whoever asks for it gives the question to somebody."""
    if (reason := _no_question(ctx, act)) is not None:
        return reason
    to = (act.value or {}).get("to")
    if not isinstance(to, str) or not to:
        return invalid('it is not said to whom; give {"to": name}')
    memo = ctx.memo(act.step)
    ctx.remember(act.step, memo | {"who": list(dict.fromkeys([*_who(memo), to])), "claimed_by": to})
    return None


def _no_question(ctx: DecisionContext, act: Act) -> Reason | None:
    if not isinstance(ctx.node(act.step), Ask):
        return invalid(f"step {act.step!r} asks nobody")
    if ctx.steps[act.step].status is not StepStatus.WAITING:
        return _closed(act, ctx.steps[act.step])
    return None


def _may_not(record: StepRecord, act: Act) -> Reason | None:
    memo = record.memo or {}
    claimed, who = memo.get("claimed_by"), _who(memo)
    if record.status is not StepStatus.WAITING:
        return _closed(act, record)
    if claimed is not None and claimed != act.by:
        text = f"{claimed} has claimed question {act.step!r}; let it be assigned to {act.by or 'you'}"
        return Reason(ReasonCode.NOT_PERMITTED, text)
    if act.by not in who:
        text = f"{act.by or 'nobody'} may not answer {act.step!r}; asked are {', '.join(who)}"
        return Reason(ReasonCode.NOT_PERMITTED, text)
    return None


def _closed(act: Act, record: StepRecord) -> Reason:
    return not_now(f"question {act.step!r} is closed: it is {record.status}")


def _who(memo: JsonObject) -> list[str]:
    who = memo.get("who")
    return [str(name) for name in who] if isinstance(who, list) else []


def _skip(ctx: DecisionContext, act: Act) -> Reason | None:
    """The step counts as done, with a reply from the operator. Its undo still runs should the flow turn."""
    node, record = ctx.node(act.step), ctx.steps[act.step]
    if not isinstance(node, Step):
        return invalid(f"{act.step!r} is no step with a reply; only such a one can be skipped")
    if ctx.unwinds(act.step):
        return not_now(f"what step {act.step!r} did is being taken back")
    if carried(record):
        text = f"the slip has not been sent to {act.step!r} yet; skip the stop that it is at, or revise what lies ahead"
        return not_now(text)
    if not (record.status.is_attempting or record.status.is_stuck):
        return not_now(f"step {act.step!r} is {record.status}; one that is under way or stuck can be skipped")
    into = node.options.into
    reply = _valid(node.contract.reply, act.value) if into is not None or act.value is not None else None
    if isinstance(reply, str):
        return invalid(f"the reply is no {node.contract.reply.__name__}: {reply}")
    ctx.clear_timers(act.step)
    memo: JsonObject = {**ctx.memo(act.step), SKIPPED_BY: act.by}
    if node.is_query:  # its answer is gathered from here
        memo["reply"] = reply
    ctx.mark(act.step, StepStatus.DONE, memo=memo)
    if into is not None and reply is not None:
        ctx.put(into, reply)
    if is_slip(ctx):
        gone_past(ctx, act.step)
    return None


def _waive(ctx: DecisionContext, act: Act) -> Reason | None:
    """What a failing undo could not take back is accepted as a loss, and the unwind goes on without it."""
    record = ctx.steps[act.step]
    if record.status is not StepStatus.UNDO_FAILED:
        return not_now(f"the undo of step {act.step!r} has not failed: it is {record.status}")
    if not act.reason.strip():
        return invalid("a loss is accepted with a reason: say who bears it and where that is written")
    ctx.mark(act.step, StepStatus.WAIVED, memo=ctx.memo(act.step) | {"waived_by": act.by, "evidence": act.reason})
    return None


def _replace_undo(ctx: DecisionContext, act: Act) -> Reason | None:
    """An undo that failed is tried with another command, by its own contract or another of the definition.

    It is the next attempt under the same effect key, and stays that of the step's undo until it is replaced again.
    """
    node, record, value = ctx.node(act.step), ctx.steps[act.step], act.value or {}
    if record.status is not StepStatus.UNDO_FAILED:
        return not_now(f"the undo of step {act.step!r} has not failed: it is {record.status}")
    if not isinstance(node, Step):
        return invalid(f"the undo of {act.step!r} is no command; look at its children")
    if (reason := unknown(value, "an undo", ("contract", "command"))) is not None:
        return reason
    name, command = value.get("contract", record.undo), value.get("command")
    contract = ctx.definition.contract(name)
    if contract is None:
        names = ", ".join(each.name for each in ctx.definition.contracts)
        return invalid(f"{ctx.definition!r} has no contract {name!r}; it has {names}")
    if not isinstance(command, dict):
        return invalid('it is not said what to send; give {"command": {…}}, and "contract" if it is another')
    payload = _valid(contract.command, command)
    if isinstance(payload, str):
        return invalid(f"the command is no {contract.command.__name__}: {payload}")
    instead: JsonObject = {"contract": contract.name, "command": payload, "by": act.by}
    ctx.steps[act.step] = replace(record, undo=contract.name)
    ctx.remember(act.step, ctx.memo(act.step) | {INSTEAD: instead})
    return None


def _valid(model: type[BaseModel], value: JsonObject | None) -> JsonObject | str:
    """The value as its model keeps it, or what is wrong with it. The author's validators may raise anything."""
    try:
        return as_json(read_foreign(model, value or {}), model)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"
    except Exception as error:
        return f"it raised {said(error)}"


MENDS: dict[ActName, Mend] = {
    ActName.ANSWER: _answer,
    ActName.CLAIM: _claim,
    ActName.ASSIGN: _assign,
    ActName.SKIP: _skip,
    ActName.WAIVE: _waive,
    ActName.REPLACE_UNDO: _replace_undo,
}
