"""The laws of fixes by operators: edited states and replaced undos.

They use their own model: patches are applied here by the library and the author's model to the recorded documents.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException
from pydantic import ValidationError

from sagaline.orchestrator.kernel.places import name_of
from sagaline.orchestrator.messages.document import Document, StepStatus
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName, Completed
from sagaline.orchestrator.messages.outputs import Outcome, place_of_label
from sagaline.orchestrator.messages.values import JsonObject, as_json, unknown_fields
from sagaline.orchestrator.ports.log import Record
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.models import read

from .generations import Restarts
from .witness import Decided, Evidence

__all__ = ["edited", "patched", "replaced"]


def edited(found: Evidence) -> Iterator[str]:
    """The state is patched by an edit, or at the end of a restart; a patch that does not fit changes nothing."""
    for document, definition, history in found.lives():
        instance, versions = document.id, found.seen(document)
        yield from _twofold(found, instance)
        for record, acts in _patches(definition, history):
            before, after = versions.get(record.revision - 1), versions.get(record.revision)
            if before is None or after is None or before.deferred:
                continue
            wanted: JsonObject | None = before.state
            for act in acts:
                wanted = patched(definition, wanted, act.value) if wanted is not None else None
            said = " and ".join(f"{act.act} {act.id}" for act in acts)
            if wanted is None:
                yield f"{instance}: {said} is carried out, and does not fit"
            elif _without(after.state, own := _filled(definition, record)) != _without(wanted, own):
                yield f"{instance}: after {said} the state is {after.state}, and should be {wanted}"


def _patches(definition: AnyDefinition, history: Sequence[Decided]) -> Iterator[tuple[HistoryRecord, Sequence[Act]]]:
    """The decisions that apply patches, each with its acts; that of a restart at its end. An edit with a retry may end
    a restart.
    """
    restarts = Restarts(definition)
    restart: Act | None = None
    for record in (decided.record for decided in history):
        act, acts = record.message, []
        restarts.decided(record)
        if isinstance(act, Act) and record.outcome is Outcome.APPLIED:
            restart = act if act.act is ActName.RESTART else restart
            if act.act is ActName.EDIT:
                acts.append(act)
        ends = [change for change in record.changes if restarts.ends_with(change) is not None]
        if ends and restart is not None and _changes_no_state_else(record):
            acts.append(restart)
        if acts:
            yield record, acts


def _changes_no_state_else(record: HistoryRecord) -> bool:
    """True for decisions that end restarts: the act itself, or the last reply to an undo."""
    message = record.message
    return isinstance(message, Act) or (isinstance(message, Completed) and "/undo/" in message.command_id)


def _filled(definition: AnyDefinition, record: HistoryRecord) -> set[str]:
    """The fields filled by nodes that end in the same decision: after a retry a scatter has enough answers."""
    done = (name_of(each.what) for each in record.changes if each.after == StepStatus.DONE)
    options = (getattr(definition.tree[name].node, "options", None) for name in done if name in definition.tree)
    return {str(getattr(each, "into", None)) for each in options}


def _without(state: JsonObject, fields: Collection[str]) -> JsonObject:
    return {name: value for name, value in state.items() if name not in fields}


def _twofold(found: Evidence, instance: str) -> Iterator[str]:
    """Denied acts change nothing, so no revision has two versions."""
    seen: dict[tuple[int, int], Document] = {}
    for document in found.versions.get(instance, ()):
        if seen.setdefault((document.created_ms, document.revision), document) != document:
            yield f"{instance} was changed and is at revision {document.revision} still"


def patched(definition: AnyDefinition, state: JsonObject, value: JsonObject | None) -> JsonObject | None:
    """The state after the act's patch, if any; None: the patch or its result does not fit."""
    model: Any = definition.state
    patch: Any = (value or {}).get("patch")
    try:
        after = jsonpatch.apply_patch(state, patch if isinstance(patch, list) else [])
        return as_json(read(model, after, extra=unknown_fields(model)), model)
    except (jsonpatch.JsonPatchException, JsonPointerException, ValidationError):
        return None


def replaced(found: Evidence) -> Iterator[str]:
    """A replaced undo is sent as the operator gave it, under the same effect key."""
    published = dict(found.commands)
    for document, definition, history in found.lives():
        yield from _replaced(document.id, definition, history, published)


def _replaced(
    instance: str, definition: AnyDefinition, history: Sequence[Decided], published: Mapping[str, Record]
) -> Iterator[str]:
    status: dict[str, str] = {}
    given: dict[str, tuple[str, object]] = {}
    for record in (decided.record for decided in history):
        act = record.message
        if isinstance(act, Act) and act.act is ActName.REPLACE_UNDO and record.outcome is Outcome.APPLIED:
            if status.get(act.step) != StepStatus.UNDO_FAILED:
                yield f"{instance}: the undo of {act.step} is replaced, which is {status.get(act.step)}"
            value = act.value or {}
            contract = value.get("contract") or given.get(act.step, (_undo_of(definition, act.step),))[0]
            given[act.step] = str(contract), value.get("command")
        for change in record.changes:
            status[change.what] = change.after
            if change.before is None:  # repeated, with its declared undo
                given.pop(change.what, None)
        for sent in record.sent:
            label, _, tail = sent.id.removeprefix(f"{instance}/").partition("/")
            instead = given.get(place_of_label(label))
            if instead is None or not tail.startswith("undo/") or sent.id not in published:
                continue
            body = json.loads(published[sent.id].value or b"null")
            if (sent.contract, body) != instead:
                yield f"{instance}: {sent.id} brings {sent.contract} {body}, and an operator gave {instead}"


def _undo_of(definition: AnyDefinition, place: str) -> str:
    step = definition.steps.get(name_of(place))
    return step.compensation.contract.name if step is not None and step.compensation is not None else ""
