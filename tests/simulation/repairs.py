"""What an operator mends by hand: he edits the state, gives a failing undo another command, goes back to a step or
forks there; and now and then asks for what makes no sense, or at the wrong time.

Only what is asked is drawn here. Whether it is legal the kernel decides, and what follows from it the laws.
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
"""So often an instance that stands in attention is mended by hand."""
_OTHER_MAX: Final = 10
"""So many such acts are asked of any other instance, all taken together."""
_FORK: Final = "fork-"
"""How the keys of forks begin."""
_FORKS_MAX: Final = 4
"""So many forks a run has: each is one more instance to end."""
_KINDS: Final = (ActName.EDIT, ActName.REPLACE_UNDO, ActName.RESTART, ActName.FORK)
_MISFITS: Final[tuple[JsonObject, ...]] = (
    {"op": "remove", "path": "/nowhere"},
    {"op": "add", "path": "/nowhere", "value": 1},
    {"op": "replace", "path": "", "value": {"nowhere": 1}},
)


class Repairs:
    """Draws acts, for each instance a few, so that an end can be come to."""

    def __init__(self, seed: int, registry: Registry, new_id: Callable[[], str]) -> None:
        self._drawn = random.Random(f"{seed}/repairs")
        self._registry, self._new_id = registry, new_id
        self._asked: Counter[str] = Counter()
        self._others = self._forks = 0

    def wants(self, instance: str, status: Status) -> bool:
        """Whether this instance is looked at now."""
        if status is Status.ATTENTION:
            return self._asked[instance] < _STUCK_MAX and self._drawn.random() < 0.4
        if status.is_final:
            often = 0.1 if status is Status.COMPLETED else 0.01
        else:
            often = 0.3 if instance.rpartition("/")[2].startswith(_FORK) else 0.05
        return self._others < _OTHER_MAX and self._drawn.random() < often

    def act(self, document: Document) -> Act | None:
        """What is asked of it; None: nothing can be."""
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
        """What would harm most if a fork took what it has taken over for its own."""
        if document.status is Status.ATTENTION:
            return ActName.RESTART, next(iter(document.steps))
        return ActName.CANCEL, ""

    def again(self) -> bool:
        """Whether it is sent twice."""
        return self._drawn.random() < 0.1

    def _astray(self, document: Document) -> tuple[ActName, str]:
        """Any act, on any step, whatever it is doing."""
        return self._drawn.choice(_KINDS), self._drawn.choice([*document.steps, "nowhere"])

    def _legal(self, definition: AnyDefinition, document: Document) -> tuple[ActName, str]:
        """One of the acts that are legal now, however many steps take it; a restart more often, which seldom is."""
        places: dict[ActName, list[str]] = {} if document.status.is_final else {ActName.EDIT: [""]}
        for place, act in inspect(definition, document).on_steps:
            if act in _KINDS and (act is not ActName.FORK or self._forks < _FORKS_MAX):
                places.setdefault(act, []).append(place)
        if not places:
            return self._astray(document)
        kind = ActName.RESTART if ActName.RESTART in places and self._drawn.random() < 0.3 else None
        kind = kind or self._drawn.choice(list(places))
        if kind in (ActName.RESTART, ActName.FORK) and self._drawn.random() < 0.6:
            return kind, places[kind][0 if kind is ActName.RESTART else -1]  # much is undone, or taken over
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
        """Under a key that nobody has, but for one that is its own."""
        self._forks += 1
        key = f"{_FORK}{self._forks}" if self._drawn.random() < 0.95 else document.key
        patch = [*self._patch(document, tests=True)] if self._drawn.random() < 0.3 else []
        if "size" in document.state and self._drawn.random() < 0.3:
            patch = [{"op": "replace", "path": "/size", "value": 9}]  # of which functions raise, where any does
        return {"key": key, **({"patch": [*patch]} if patch else {})}

    def _patch(self, document: Document, *, tests: bool) -> list[JsonObject]:
        """Operations on the state, now and then such as do not fit; ``tests``: that it is still what it was may be
        asked first.
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
        """Operations that fit. Of a state that is not of our making: one that changes nothing."""
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
        """Another command for an undo, of a contract that workers have; or of its own, when none is named."""
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
    """The contracts that a worker waits for: of a scatter's question not the declared one, but its legs'."""
    found: dict[str, Contract[BaseModel, BaseModel]] = {}
    for step in definition.steps.values():
        if not step.is_query:
            found[step.contract.name] = step.contract
        if step.compensation is not None:
            found[step.compensation.contract.name] = step.compensation.contract
    return list(found.values())
