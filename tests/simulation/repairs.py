"""Fixes by an operator: edits of the state, replaced undos, restarts and forks; sometimes senseless ones, or at the
wrong time.

Only the requests are drawn here. The kernel decides whether they are allowed, and the laws check the results.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.kernel.inspection import inspect
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.inputs import Act, ActName
from sagaline.orchestrator.messages.values import JsonObject
from sagaline.orchestrator.scenes.sample import samples
from sagaline.sagas import Contract
from sagaline.sagas.definition import AnyDefinition

from .parts import Request

__all__ = ["Repairs"]

_STUCK_MAX: Final = 4
"""The number of fixes by hand for an instance in attention."""
_OTHER_MAX: Final = 10
"""The total number of such acts on other instances."""
_FORK: Final = "fork-"
"""Prefix of the keys of forks."""
_FORKS_MAX: Final = 4
"""The number of forks in a run: each is one more instance that must end."""
_KINDS: Final = (ActName.EDIT, ActName.REPLACE_UNDO, ActName.RESTART, ActName.FORK)
_MISFITS: Final[tuple[JsonObject, ...]] = (
    {"op": "remove", "path": "/nowhere"},
    {"op": "add", "path": "/nowhere", "value": 1},
    {"op": "replace", "path": "", "value": {"nowhere": 1}},
)


class Repairs:
    """Draws acts, a few for each instance, so that it can end."""

    def __init__(self, seed: int, registry: Registry, new_id: Callable[[], str]) -> None:
        self._drawn = random.Random(f"{seed}/repairs")
        self._registry, self._new_id = registry, new_id
        self._asked: Counter[str] = Counter()
        self._others = self._forks = 0

    def wants(self, instance: str, status: Status) -> bool:
        """True when this instance gets an act now."""
        if status is Status.ATTENTION:
            return self._asked[instance] < _STUCK_MAX and self._drawn.random() < 0.4
        if status.is_final:
            often = 0.1 if status is Status.COMPLETED else 0.01
        else:
            often = 0.3 if instance.rpartition("/")[2].startswith(_FORK) else 0.05
        return self._others < _OTHER_MAX and self._drawn.random() < often

    def act(self, document: Document) -> Act | None:
        """The act; None: no act is possible."""
        definition = self._registry.find(document.definition, document.version)
        if definition is None or not document.steps:
            return None
        if document.status is Status.ATTENTION:
            self._asked[document.id] += 1
        else:
            self._others += 1
        if document.origin is not None and not document.status.is_final and self._drawn.random() < 0.4:
            kind, place = self._turning(document)
        elif self._drawn.random() < 0.12:
            kind, place = self._astray(document)
        else:
            kind, place = self._legal(definition, document)
        return Act(
            id=self._new_id(),
            instance=document.id,
            act=kind,
            by="operator",
            reason="mended",
            step="" if kind is ActName.EDIT else place,
            value=self._value(definition, document, kind),
        )

    def _turning(self, document: Document) -> tuple[ActName, str]:
        """The act that would do the most harm if a fork undid steps that it has taken over."""
        if document.status is Status.ATTENTION:
            return ActName.RESTART, next(iter(document.steps))
        return ActName.CANCEL, ""

    def again(self) -> bool:
        """True when it is sent twice."""
        return self._drawn.random() < 0.1

    def _astray(self, document: Document) -> tuple[ActName, str]:
        """Any act on any step, in any status."""
        return self._drawn.choice(_KINDS), self._drawn.choice([*document.steps, "nowhere"])

    def _legal(self, definition: AnyDefinition, document: Document) -> tuple[ActName, str]:
        """One of the acts that are allowed now, each equally often; a restart, which is rarely allowed, more often."""
        places: dict[ActName, list[str]] = {} if document.status.is_final else {ActName.EDIT: [""]}
        for place, act in inspect(definition, document).on_steps:
            if act in _KINDS and (act is not ActName.FORK or self._forks < _FORKS_MAX):
                places.setdefault(act, []).append(place)
        if not places:
            return self._astray(document)
        kind = ActName.RESTART if ActName.RESTART in places and self._drawn.random() < 0.3 else None
        kind = kind or self._drawn.choice(list(places))
        if kind in (ActName.RESTART, ActName.FORK) and self._drawn.random() < 0.6:
            return kind, places[kind][0 if kind is ActName.RESTART else -1]  # many steps are undone, or taken over
        return kind, self._drawn.choice(places[kind])

    def _value(self, definition: AnyDefinition, document: Document, kind: ActName) -> JsonObject | None:
        if kind is ActName.EDIT:
            retry = self._drawn.random() < (0.6 if document.status is Status.ATTENTION else 0.05)
            return {"patch": [*self._patch(document, tests=True)], **({"retry": True} if retry else {})}
        if kind is ActName.RESTART:
            return {"patch": [*self._patch(document, tests=False)]} if self._drawn.random() < 0.5 else {}
        if kind is ActName.FORK:
            return self._fork(document)
        return self._instead(definition, document) if kind is ActName.REPLACE_UNDO else None

    def _fork(self, document: Document) -> JsonObject:
        """A fork under an unused key, sometimes its own key."""
        self._forks += 1
        key = f"{_FORK}{self._forks}" if self._drawn.random() < 0.95 else document.key
        patch = [*self._patch(document, tests=True)] if self._drawn.random() < 0.3 else []
        if "size" in document.state and self._drawn.random() < 0.3:
            patch = [{"op": "replace", "path": "/size", "value": 9}]  # for this size functions raise, if any does
        return {"key": key, **({"patch": [*patch]} if patch else {})}

    def _patch(self, document: Document, *, tests: bool) -> list[JsonObject]:
        """Operations on the state, sometimes ones that do not fit; ``tests``: a test that the state is unchanged may
        come first.
        """
        drawn, state = self._drawn, document.state
        changes = self._changes(state)
        patch = drawn.sample(changes, drawn.randint(1, min(2, len(changes))))
        if tests and drawn.random() < 0.2:
            field = drawn.choice(list(state))
            patch = [{"op": "test", "path": f"/{field}", "value": state[field]}, *patch]
        if drawn.random() < 0.2:
            patch.append(drawn.choice(_MISFITS))
        return patch

    def _changes(self, state: JsonObject) -> list[JsonObject]:
        """Operations that fit. For the state of a shipped example: one that changes nothing."""
        drawn = self._drawn
        if not {"key", "size", "group"} <= state.keys():
            field = next(iter(state))
            return [{"op": "replace", "path": f"/{field}", "value": state[field]}]
        told: JsonObject = {"number": drawn.randint(0, 3)}
        return [
            {"op": "replace", "path": "/size", "value": drawn.randint(0, 9)},
            {"op": "replace", "path": "/group", "value": drawn.randint(0, 1)},
            {"op": "add", "path": f"/r{drawn.randint(0, 3)}", "value": told},
        ]

    def _instead(self, definition: AnyDefinition, document: Document) -> JsonObject:
        """Another command for an undo, of a contract that workers handle; or of its own contract."""
        served = _served(definition)
        if not served:
            return {}
        contract = self._drawn.choice(served)
        command: JsonObject = dict(samples(contract.command)[0])
        if contract.command is Request:
            command = {"key": document.key, "note": f"instead-{self._drawn.randint(0, 9)}"}
            if self._drawn.random() < 0.5:
                return {"command": command}
        return {"contract": contract.name, "command": command}


def _served(definition: AnyDefinition) -> list[Contract[BaseModel, BaseModel]]:
    """The contracts that workers handle: for a scatter those of its legs, not the declared one."""
    found: dict[str, Contract[BaseModel, BaseModel]] = {}
    for step in definition.steps.values():
        if not step.is_query:
            found[step.contract.name] = step.contract
        if step.compensation is not None:
            found[step.compensation.contract.name] = step.compensation.contract
    return list(found.values())
