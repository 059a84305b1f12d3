"""Editing the state of an instance: a JSON Patch (RFC 6902) is applied as a whole and the result fits the author's
model, or it is denied and nothing changes.

``test`` operations make an edit optimistic: it is denied if the state is no longer what the operator saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jsonpatch import JsonPatch, JsonPatchException
from jsonpointer import JsonPointerException
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import to_json

from ...sagas.models import read
from ...sagas.personal import holds_personal
from ..messages.document import Status, StepRecord
from ..messages.inputs import Act
from ..messages.outputs import Change
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from ..messages.values import JsonObject, first_mistake, unknown_fields
from .context import DecisionContext, as_json, said
from .slip import carried

__all__ = ["NOTHING_TO_CHANGE", "Patch", "edit", "edit_objection", "patch_of", "patched", "set_state", "unknown"]

Patch = Sequence[JsonObject]

NOTHING_TO_CHANGE = Reason(ReasonCode.NOTHING_TO_CHANGE, "nothing to change")
_OPERATIONS_MAX = 100
_SHAPE = 'an edit needs {"patch": [operations of RFC 6902]}; "retry": true is optional'
_KEPT = "the history keeps it, and only what is in the state is checked to be sealed"
_PATCH = "the patch must be a list of 1 to 100 operations of RFC 6902, each an object"


def edit(ctx: DecisionContext, act: Act) -> Reason | None:
    """Patches the state, whatever the instance is doing; commands that were sent keep the old values.

    Returns the reason why it is denied, or ``NOTHING_TO_CHANGE``; None: it is done. A retry follows only if the act
    asks for it, so that an operator can check the edit first.
    """
    value = act.value or {}
    if (wrong := unknown(value, "an edit", ("patch", "retry"))) is not None:
        return wrong
    patch, retry = patch_of(value), value.get("retry", False)
    if patch is None or not isinstance(retry, bool):
        return invalid(_SHAPE)
    if isinstance(patch, Reason):
        return patch
    if retry and ctx.status is not Status.ATTENTION:
        return not_now(f"it is {ctx.status} and does not need attention; omit retry")
    if (reason := edit_objection(ctx.steps)) is not None:
        return reason
    state = patched(ctx, ctx.state, patch)
    if isinstance(state, Reason):
        return state
    if state != ctx.state:
        set_state(ctx, state)
    elif not retry:
        return NOTHING_TO_CHANGE
    return None


def edit_objection(steps: Mapping[str, StepRecord]) -> Reason | None:
    """Why the state cannot be edited now: a routing slip in flight carries the old one; None: it can be edited."""
    to = ", ".join(place for place, record in steps.items() if carried(record))
    if not to:
        return None
    text = f"the slip is on its way to {to} with the current state; edit it when the slip has returned"
    return not_now(text)


def set_state(ctx: DecisionContext, state: JsonObject) -> None:
    """Sets a state that ``patched`` returned, and records the edit in the history."""
    ctx.replace_json(state)
    ctx.changes.append(Change(what="state", before=None, after="edited"))


def unknown(value: JsonObject, what: str, known: Sequence[str]) -> Reason | None:
    """Why the value of an act is denied: it has unknown fields, such as a mistyped option; None: all are known."""
    more = sorted(set(value) - set(known))
    return invalid(f"{what} takes {' and '.join(known)}, not {', '.join(more)}") if more else None


def patch_of(value: Mapping[str, JsonValue]) -> Patch | Reason | None:
    """The operations under ``patch``, or what is wrong with them; None: there is no patch."""
    found = value.get("patch")
    if found is None:
        return None
    if not isinstance(found, list) or not 1 <= len(found) <= _OPERATIONS_MAX:
        return invalid(_PATCH)
    operations = [each for each in found if isinstance(each, dict)]
    return operations if len(operations) == len(found) else invalid(_PATCH)


def patched(ctx: DecisionContext, state: JsonObject, patch: Patch | None) -> JsonObject | Reason:
    """The state after the operations, as JSON of the author's model; or what is wrong with it.

    Unknown fields are denied, unless the model itself configures how to treat them. Where the model has personal
    fields, so is an operation whose value a later one overwrites: it could be plain.
    """
    found: object = state
    for number, operation in enumerate(patch or (), start=1):
        where = f"operation {number} ({operation.get('op')} {operation.get('path')})"
        try:
            found = JsonPatch([operation]).apply(found)
        except (JsonPatchException, JsonPointerException) as error:
            return invalid(f"{where}: {ctx.shortened(str(error))}")
        except Exception as error:
            return invalid(f"{where} raised {ctx.shortened(said(error))}")
        size = len(to_json(found)) if operation.get("op") == "copy" or number == len(patch or ()) else 0
        if size > ctx.limits.document_bytes:  # copies of copies grow without bound
            most = ctx.limits.document_bytes
            return invalid(f"{where}: the state would have {size:,} bytes, the limit is {most:,}")
    if patch and holds_personal(ctx.definition.state) and (late := _overwritten(patch, state, found)) is not None:
        return invalid(f"operation {late} has a value that is not in the state afterwards; leave it out: {_KEPT}")
    return _fitting(ctx, found)


def _overwritten(patch: Patch, before: object, after: object) -> int | None:
    """The first operation with a value that no check of the state will see; None: there is none."""
    seen = {*_singles(before), *_singles(after)}
    for number, operation in enumerate(patch, start=1):
        names = {"op", "path", "from"} if operation.get("op") in ("move", "copy") else {"op", "path"}
        if not seen.issuperset(_singles([value for name, value in operation.items() if name not in names])):
            return number
    return None


def _singles(value: object) -> Iterator[str | float]:
    left = [value]
    while left:
        match left.pop():
            case dict() as found:
                left += found.values()
            case list() as found:
                left += found
            case str() | int() | float() as found:
                yield found


def _fitting(ctx: DecisionContext, state: object) -> JsonObject | Reason:
    model: type[BaseModel] = ctx.definition.state
    try:
        return as_json(read(model, state, extra=unknown_fields(model)), model)
    except ValidationError as error:
        where, wrong = first_mistake(error)
        return invalid(f"the state would not fit {model.__name__}: {where or 'the state'}: {wrong}")
    except Exception as error:
        return invalid(f"the check of {model.__name__} raised {ctx.shortened(said(error))}")
