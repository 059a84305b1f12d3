"""Small definitions with one node of each kind, and what happens to them, for the tests of nodes and of transitions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel

from sagaline.orchestrator.kernel import Registry, decide
from sagaline.orchestrator.messages.document import Document, StepStatus
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, JsonObject, Message
from sagaline.orchestrator.messages.outputs import Outcome, Tell, incarnation_of
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, Node, Retry, Saga, Step, pivot, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import parallel

__all__ = [
    "HOUR",
    "LIFE",
    "Did",
    "Do",
    "Offer",
    "Paid",
    "Talk",
    "command_named",
    "flow_of",
    "leg",
    "life_at",
    "memo_of",
    "outcome_of",
    "paid",
    "redeployed",
    "timers_of",
    "told_by",
    "waiting_again",
]

S = TypeVar("S", bound=BaseModel)
HOUR = timedelta(hours=1)
LIFE = incarnation_of("start", 0)
"""The incarnation of every scene's instance: all are started by one id at one time."""


def command_named(document: Document, short: str) -> str:
    """The id of a command, as the instance calls it: ``a+1/2`` is the second of the step after a restart."""
    place, _, _ = short.partition("/")[0].partition("+")
    return f"{document.id}/{place}~{document.incarnation}{short.removeprefix(place)}"


def life_at(scene: Scene, instance: str) -> str:
    """The incarnation of an instance."""
    document = scene.entities[instance]
    assert isinstance(document, Document)
    return document.incarnation


class Do(BaseModel):
    """Any command."""

    n: int = 0


class Did(BaseModel):
    """Any reply."""

    ok: bool = True


class Offer(BaseModel):
    """An answer that has a price."""

    price: int = 0


class Paid(BaseModel):
    """The body of an event."""

    amount: int


class Talk(BaseModel):
    """What all of these sagas know."""

    n: int = 0
    rounds: int = 0
    did: Did | None = None
    paid: Paid | None = None
    offer: Offer | None = None
    offers: list[Offer] = []


paid = Event("paid", Paid)


def leg(
    name: str,
    *,
    undo: bool = True,
    locks: str | None = None,
    broken: bool = False,
    read_only: bool = False,
    timeout: timedelta = timedelta(minutes=1),
    model: type[S] = Talk,  # type: ignore[assignment]  # the default of a type variable
) -> Step[S]:
    """A step that is tried twice, with an undo; ``broken``: its function raises."""

    @step(
        Contract(f"do-{name}", Do, Did, queue="q"),
        retry=Retry(max_attempts=2),
        timeout=timeout,
        name=name,
        locks=locks,
        read_only=read_only,
    )
    def build(s: S) -> Do:
        if broken:
            raise RuntimeError(f"{name} is broken")
        return Do()

    if undo:

        @build.undo(Contract(f"undo-{name}", Do, Did, queue="q"), retry=Retry(max_attempts=2))
        def unbuild(s: S) -> Do:
            return Do()

    return build


def flow_of(*nodes: Node[Talk], past_pivot: bool = False, name: str = "talk") -> Saga[Talk]:
    """A saga of these nodes, with ``past_pivot`` all of them behind it."""
    return Saga(name, Talk, flow=[pivot, *nodes] if past_pivot else nodes)


def redeployed(scene: Scene, definition: AnyDefinition) -> Scene:
    """Another definition of that name and version is deployed."""
    return replace(scene, definition=definition, registry=Registry([definition]))


def told_by(scene: Scene) -> list[Message]:
    """What the instance said to others in its last decision."""
    assert scene.last is not None
    return [action.message for action in scene.last.actions if isinstance(action, Tell)]


def outcome_of(scene: Scene) -> tuple[Outcome, str]:
    """What became of the last message, and why."""
    assert scene.last is not None
    return scene.last.outcome, scene.last.reason


def memo_of(scene: Scene, place: str) -> JsonObject:
    """What a place of the instance remembers."""
    return scene.document.steps[place].memo or {}


def timers_of(scene: Scene, instance: str | None = None) -> dict[str, int]:
    """The timers of an instance, by default of the one looked at."""
    found = scene.entities[instance or scene.id]
    assert isinstance(found, Document)
    return found.timers


def waiting_again() -> tuple[Scene, Document]:
    """Step ``a`` has timed out, so it may have happened; an operator's retry has begun it again, and it waits for its
    lock: the instance before the lock answers.
    """

    def saga(*, broken: bool) -> Saga[Talk]:
        return flow_of(parallel(leg("a", locks="x"), [leg("c"), leg("b", broken=broken)]))

    scene = redeployed(Scene.start(saga(broken=True)).ok("c").time_out("a"), saga(broken=False))
    retry = Arrival(message=Act(id="r", instance=scene.id, act=ActName.RETRY), now_ms=scene.now_ms)
    document = decide(scene.definition, scene.document, retry).document
    assert document is not None
    assert document.steps["a"].status is StepStatus.LOCKING
    return scene, document
