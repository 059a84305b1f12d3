"""Acts before they are sent: their personal values are sealed, and what would be denied is not written at all.

The log and the history keep also what the engine denies. So an act with a value, about an instance that may have
personal data, is decided here first; what the patch of an edit makes of the state, for example, must be sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from pydantic import BaseModel, JsonValue

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Ask
from ...sagas.personal import holds_personal, personal_in
from ..errors import ActDenied, InvalidRequest
from ..kernel import decide
from ..kernel.places import name_of
from ..messages.document import Document, Status
from ..messages.inputs import Act, ActName, Arrival
from ..messages.outputs import Decision, Outcome
from ..messages.reasons import Reason, ReasonCode
from ..vault.vault import checked_subject
from .asking import Asking
from .checks import check_body, check_json
from .parts import ClientParts
from .personal import Seals, sealed
from .results import OnStep

__all__ = ["denied", "rehearsed_act", "sealed_act"]

Written: TypeAlias = Callable[[OnStep | None], Act]
"""The act with this value."""
Value: TypeAlias = BaseModel | Mapping[str, JsonValue]

_NAMES_ONLY = frozenset({ActName.ASSIGN})


async def sealed_act(parts: ClientParts, asking: Asking, on: OnStep | None, written: Written) -> Act:
    """The act with its personal values sealed.

    Raises:
        UnknownInstance: there is no such instance.
        InvalidRequest: a value does not fit, cannot be sealed, or would be plain where it must be sealed.
        ActDenied: its code is not deployed here, so that nobody can say; or it would be denied in any case.
        TransientError: the read model has not caught up yet, or does not answer.
        ConfigurationError, LogUnavailable: as ``sealed``.
    """
    if on is None or on.value is None:
        return written(on)
    if not isinstance(on.value, BaseModel):
        written(on)  # so that a malformed value is said first, whatever the instance
    about = written(replace(on, value=None))
    if about.act in _NAMES_ONLY:
        return written(on)
    document = await asking.known(about.instance)
    definition = parts.registry.deciding(document)
    act = written(await _sealed_on(parts.vault, definition, document, about.act, on))
    if definition is not None and not _may_hold(definition):
        return act
    decision = _decided(parts, document, act)
    if decision.outcome is Outcome.DENIED:  # perhaps by what the read model does not know yet
        await asking.caught_up()
        document = await asking.known(about.instance)
        decision = _decided(parts, document, act)
    if decision.outcome is Outcome.DENIED:
        raise denied(act, document.status, Reason(decision.code or ReasonCode.INVALID, decision.reason))
    return act


async def rehearsed_act(parts: ClientParts, document: Document, on: OnStep | None, written: Written) -> Decision:
    """The result that an act would have now. No key is needed or made for its personal values.

    Raises:
        InvalidRequest: a value does not fit, or cannot be sealed.
    """
    if on is not None and on.value is not None:
        value = on.value.model_copy(deep=True) if isinstance(on.value, BaseModel) else on.value
        act = written(replace(on, value=None)).act
        on = await _sealed_on(_Pretends(), parts.registry.deciding(document), document, act, replace(on, value=value))
    return _decided(parts, document, written(on))


def denied(act: Act, status: Status, why: Reason) -> Exception:
    """The error for an act that is denied."""
    if why.code is ReasonCode.INVALID:
        return InvalidRequest(f"{act.act} of {act.instance!r}: {why.text}")
    return ActDenied(act.instance, act.act.value, status.value, why)


class _Pretends:
    """Marks values as sealed."""

    async def seal_foreign(self, value: object) -> None:
        for each, found in list(personal_in(value)):
            subject = checked_subject(each, found)
            if each.sealed is None:
                each.seal("not really", subject)


def _decided(parts: ClientParts, document: Document, act: Act) -> Decision:
    arrival = Arrival(message=act, now_ms=parts.clock.now_ms())
    return decide(parts.registry.deciding(document), document, arrival)


async def _sealed_on(
    seals: Seals, definition: AnyDefinition | None, document: Document, act: ActName, on: OnStep
) -> OnStep:
    """An answer, the reply of a skipped step, or the command of a replaced undo with its personal values sealed."""
    name, value = name_of(on.step), on.value
    if value is None or definition is None or name not in definition.tree:
        return on
    node = definition.tree[name].node
    if act is ActName.ANSWER and isinstance(node, Ask):
        return replace(on, value=await _sealed(seals, node.options.form, value, "value"))
    if act is ActName.SKIP and isinstance(node, Step):
        return replace(on, value=await _sealed(seals, node.contract.reply, value, "value"))
    if act is ActName.REPLACE_UNDO:
        given = check_json(value, "value")
        record, command = document.steps.get(on.step), given.get("command")
        contract = definition.contract(given.get("contract", record.undo if record is not None else None))
        if contract is not None and isinstance(command, dict):
            body = await _sealed(seals, contract.command, command, "value.command")
            return replace(on, value={**given, "command": check_json(body, "value.command")})
    return on


async def _sealed(seals: Seals, model: type[BaseModel], value: Value, what: str) -> Value:
    """Where it has personal fields, it is checked here already."""
    if not holds_personal(model):
        return value
    return check_body(model, await sealed(seals, model, value, what), what)


def _may_hold(definition: AnyDefinition) -> bool:
    """True: an instance may have personal values."""
    forms = [spot.node.options.form for spot in definition.tree if isinstance(spot.node, Ask)]
    messages = [model for each in definition.contracts for model in (each.command, each.reply)]
    return any(map(holds_personal, [definition.state, *forms, *messages]))
