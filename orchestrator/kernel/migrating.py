"""Migration: an open instance whose version is no longer deployed continues as a newer version that declares it.

It happens with the next decision that changes the instance, and is recorded there. If it fails, the instance stays
unchanged and needs attention.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from ...sagas.definition import AnyDefinition
from ..messages.document import Document, Status, StepRecord, StepStatus
from ..messages.reasons import Reason, ReasonCode
from .compatibility import incompatibility
from .context import as_json, said
from .places import name_of

__all__ = ["CannotMigrate", "migrated", "must_migrate"]


class CannotMigrate(Exception):
    """The instance cannot migrate; the message says what its author should fix."""

    @property
    def reason(self) -> Reason:
        return Reason(ReasonCode.CODE_DIFFERS, str(self))


def must_migrate(definition: AnyDefinition | None, document: Document) -> bool:
    """True when the definition that decides has another version than the instance. Of the ended, only a completed
    instance migrates, since its parent may still undo it.
    """
    ended = document.status.is_final and document.status is not Status.COMPLETED
    return definition is not None and definition.version != document.version and not ended


def migrated(definition: AnyDefinition, document: Document) -> Document:
    """The instance as one of this version; its revision does not change.

    Raises:
        CannotMigrate: a step on record is gone or does not match, or the author's function raised or returned no valid
            state.
    """
    way = f"the migration of {definition.name!r} from version {document.version} to {definition.version}"
    migration = definition.migrations.get(document.version)
    if migration is None:
        raise CannotMigrate(f"{way} is not declared; deploy version {document.version}, or declare the migration")
    if document.restarting is not None:
        step = document.restarting.step
        raise CannotMigrate(f"{way} waits: a restart from {step!r} is in progress; deploy version {document.version}")
    steps = {place: record for place, record in document.steps.items() if name_of(place) in definition.tree}
    gone = [place for place in document.steps if place not in steps]
    for place in gone:
        _check_gone(way, place, document.steps[place], name_of(place) in migration.dropped)
    if (wrong := incompatibility(definition, steps)) is not None:
        raise CannotMigrate(f"{way} {wrong}; change it back")
    for place in document.itinerary or ():
        name = name_of(place)
        if name not in definition.tree and name not in migration.dropped:
            raise CannotMigrate(f"{way} has no stop {name!r}, which is ahead; keep the stop, or name it in dropped")
    try:
        value = migration.upgrade(copy.deepcopy(document.state))
        if not isinstance(value, definition.state):
            raise TypeError(f"it returned a {type(value).__name__}, not a {definition.state.__name__}")
        state = as_json(value, definition.state)
    except Exception as error:
        raise CannotMigrate(f"{way} raised {said(error)}; fix it and redeploy") from error
    managed = document.managed
    if managed is not None and managed.phase is not None:
        managed = replace(managed, phase=migration.phases.get(managed.phase, managed.phase))
    return replace(
        document,
        managed=managed,
        version=definition.version,
        state=state,
        steps=steps,
        itinerary=document.itinerary and tuple(each for each in document.itinerary if name_of(each) in definition.tree),
        timers={name: due for name, due in document.timers.items() if name.rpartition(":")[0] not in gone},
        held={name: due for name, due in document.held.items() if name.rpartition(":")[0] not in gone},
    )


def _check_gone(way: str, place: str, record: StepRecord, dropped: bool) -> None:
    if not dropped:
        raise CannotMigrate(
            f"{way} has no step {place!r}, which is on record ({record.status}); keep the step, or name it in dropped"
        )
    if not record.status.is_closed and (record.undo is not None or record.status is not StepStatus.DONE):
        raise CannotMigrate(
            f"{way} drops step {place!r}, which is {record.status} and could not be ended or undone; keep it"
        )
