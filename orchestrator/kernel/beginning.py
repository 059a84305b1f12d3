"""Instances whose code was not deployed at their start or first event: they wait, visible in attention.

- Such an instance is ``unbegun``: its state is the unchecked input, and nothing was sent.
- The first decision with the code deployed admits it: the input is checked, and the deferred messages are applied. An
  instance that is not admitted stays in attention, with the reason.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ValidationError

from ...sagas.definition import AnyDefinition
from ...sagas.models import first_mistake, read, read_foreign
from ...sagas.policy import to_ms
from ...sagas.process_manager import ProcessManager
from ..messages.document import Document, Status
from ..messages.entity_messages import EventDelivered
from ..messages.inputs import Act, ActName, Message, Start
from ..messages.outputs import Change, Decision, Outcome
from ..messages.reasons import Reason, ReasonCode
from ..messages.values import JsonObject
from .compatibility import not_deployed
from .context import as_json, said
from .deferral import wants_code
from .managing import EARLY, process_of
from .migrating import CannotMigrate, migrated

__all__ = ["BEGINS", "NEWEST", "NotAdmitted", "admitted", "needs_no_code", "state_of", "waits", "waits_by_event"]

BEGINS = Change(what="instance", before=None, after=Status.RUNNING)
NEWEST = 0
"""Version of an unbegun instance that will begin as the newest deployed version."""


class NotAdmitted(Exception):
    """The deployed code cannot begin an instance; the message says why."""

    @property
    def reason(self) -> Reason:
        return Reason(ReasonCode.CODE_DIFFERS, str(self))


def waits(fresh: Document, why: Reason) -> Decision:
    """The first decision about an instance that cannot begin yet: ``why`` its code is missing or does not admit it."""
    attention = wants_code(why, fresh.created_ms)
    document = replace(fresh, status=Status.ATTENTION, revision=fresh.revision + 1, attention=attention, unbegun=True)
    stops = Change(what="instance", before=Status.RUNNING, after=Status.ATTENTION)
    return Decision(
        document=document, outcome=Outcome.DEFERRED, changes=(BEGINS, stops), code=why.code, reason=why.text
    )


def waits_by_event(message: EventDelivered, now_ms: int) -> Decision:
    """An event for a process manager that is not deployed here (but is on the node that sent the event): it waits."""
    fresh = process_of(message, NEWEST, now_ms)
    return waits(replace(fresh, deferred=(message,)), not_deployed(fresh))


def needs_no_code(message: Message) -> bool:
    """True for messages to an unbegun instance that are answered whether its code is deployed or not."""
    return isinstance(message, Start) or (isinstance(message, Act) and message.act is ActName.ABANDON)


def admitted(definition: AnyDefinition, document: Document, now_ms: int) -> Document:
    """The instance, ready to begin with this code; its revision does not change.

    Raises:
        NotAdmitted: this code cannot begin it; the message says why, and what to do.
    """
    if document.version not in (NEWEST, definition.version):
        try:
            return replace(migrated(definition, document), unbegun=False)
        except CannotMigrate as error:
            raise NotAdmitted(str(error)) from error
    if isinstance(definition, ProcessManager) is not (document.managed is not None):
        kind = "a process manager, started by events" if document.managed is None else "not a process manager"
        raise NotAdmitted(f"{definition!r} is {kind}; abandon the instance, or fix the code and redeploy")
    if isinstance(definition, ProcessManager):
        keep_ms = [
            to_ms(definition.subscriptions[each.event].event.keep)
            for each in document.deferred
            if isinstance(each, EventDelivered) and each.event in definition.subscriptions
        ]
        timers = {EARLY: now_ms + max(keep_ms, default=0)}
        return replace(document, version=definition.version, timers=timers, unbegun=False)
    try:
        state = state_of(definition, document.state, forked=document.origin is not None)
    except NotAdmitted as error:
        raise NotAdmitted(f"{error}; abandon the instance, or fix the code and redeploy") from error
    return replace(document, version=definition.version, state=state, unbegun=False)


def state_of(definition: AnyDefinition, value: JsonObject, *, forked: bool) -> JsonObject:
    """The state that an instance begins with.

    Args:
        definition: of the instance.
        value: its input; for a fork a stored state, by field names.
        forked: True for a fork.

    Raises:
        NotAdmitted: the definition's model does not accept the input; the message says where and why.
    """
    try:
        found: BaseModel = (read if forked else read_foreign)(definition.state, value)
        return as_json(found, definition.state)
    except ValidationError as error:
        where, wrong = first_mistake(error)
        raise NotAdmitted(f"the input is not valid: {where or 'input'}: {wrong}") from error
    except Exception as error:
        raise NotAdmitted(f"the validators of the state raised {said(error)}") from error
