"""Code that was changed under open instances: it fits what is on record, or they wait for it, visibly."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest
from pydantic import JsonValue

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import CauseKind, Status
from sagaline.orchestrator.messages.inputs import Completed
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.orchestrator.verify.successors import Move, Plan, successors
from sagaline.sagas import Contract, Node, Saga
from sagaline.sagas.nodes import choose, loop, parallel, scatter, sleep, when

from .kernel_nodes import Do, Offer, Talk, flow_of, leg, outcome_of, redeployed

SECOND = timedelta(seconds=1)


def asked(name: str) -> Node[Talk]:
    """A scatter of two queues."""
    contract = Contract("offer", Do, Offer, queue="q")
    return scatter(contract, queues=("q1", "q2"), into="offers", deadline=SECOND, name=name)(lambda s: Do())


def round_of(*nodes: Node[Talk]) -> Node[Talk]:
    """Goes round twice and would go on."""
    return loop(*nodes, while_=lambda s: s.rounds == 0, rounds_max=2, name="more")


def chosen(first: Node[Talk], other: Node[Talk], label: str = "first") -> Node[Talk]:
    """Always the first."""
    return choose(when(lambda s: True, first, name=label), otherwise=other, name="way")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([leg("a")], [sleep("a", SECOND)], "has a sleep 'a', which is on record here as a step"),
        ([leg("a")], [asked("a")], "has a scatter 'a', which is on record here as a step"),
        (
            [leg("a")],
            [parallel(leg("a"), leg("b"), name="both")],
            "has 'a', which is in progress here, in parallel 'both', where it was not begun",
        ),
        (
            [chosen(leg("a"), leg("b"))],
            [chosen(leg("b"), leg("a"))],
            "has 'a', which is in progress here, in choose 'way', where it was not begun",
        ),
        (
            [chosen(leg("a"), leg("b"))],
            [chosen(leg("a"), leg("b"), "only")],
            "has no branch 'first' in 'way', which is on record here",
        ),
        (
            [round_of(leg("a"))],
            [leg("a"), round_of(leg("b"))],
            "has 'a', which is in progress here, in another loop, where it was not begun",
        ),
        (
            [leg("a")],
            [round_of(leg("a"))],
            "has 'a', which is in progress here, in loop 'more', where it was not begun",
        ),
    ],
    ids=[
        "step to sleep",
        "step to scatter",
        "into a parallel",
        "to another case",
        "case renamed",
        "out of a loop",
        "into a loop",
    ],
)
def test_what_was_moved_or_renamed_under_an_instance_is_said_and_waited_for(
    before: list[Node[Talk]], after: list[Node[Talk]], why: str
) -> None:
    """Nothing is lost: with the code as it was it goes on. A migration says the same and leaves the version alone."""
    begun = Scene.start(flow_of(*before))
    place = next(place for place in begun.document.steps if place.startswith("a"))
    reply = Completed(id="r", instance=begun.id, command_id=begun.sent[0].id, reply={"ok": True})
    stuck = redeployed(begun, flow_of(*after)).play(reply)
    assert stuck.attention is not None
    assert (stuck.attention.kind, stuck.attention.message) == (
        CauseKind.VERSION,
        f"the deployed code {why}; deploy it again",
    )
    assert outcome_of(stuck.cancel()) == (Outcome.DENIED, stuck.attention.message)
    assert redeployed(stuck, flow_of(*before)).retry().step(place) == "done"
    newer = Saga("talk", Talk, version=2, flow=after)

    @newer.migrate(from_version=1)
    def upgrade(state: dict[str, JsonValue]) -> Talk:
        return Talk.model_validate(state)

    kept = replace(begun, definition=newer, registry=Registry([newer])).play(reply)
    assert kept.attention is not None
    assert kept.document.version == 1
    assert kept.attention.message == (f"the migration of 'talk' from version 1 to 2 {why}; change it back")


def test_what_is_done_may_be_wrapped_in_something_new() -> None:
    """Nobody has to find it again."""
    begun = Scene.start(flow_of(leg("a"), leg("b"))).ok("a")
    after = redeployed(begun, flow_of(parallel(leg("a"), leg("c"), name="both"), leg("b"))).ok("b")
    assert after.step("c") == "sent"
    assert after.ok("c").status == "completed"


class Draws:
    """Flows over few names, each time nested in another way; ``kinds``: a name may be of another kind as well."""

    def __init__(self, drawn: random.Random, *, kinds: bool) -> None:
        self.drawn = drawn
        of_kind = {kind: [f"{'n' if kinds else kind}{number}" for number in range(4)] for kind in "scplx"}
        self.names = dict.fromkeys(of_kind, of_kind["s"]) if kinds else of_kind

    def saga(self) -> Saga[Talk]:
        """One of them; all of their names are gone then, so each saga needs its own draws."""
        for names in self.names.values():
            self.drawn.shuffle(names)
        return flow_of(*self.flow(0), leg(f"last{self.drawn.randint(0, 1)}"))

    def flow(self, depth: int) -> list[Node[Talk]]:
        return [node for _ in range(self.drawn.randint(1, 3)) for node in self.node(depth)]

    def node(self, depth: int) -> list[Node[Talk]]:
        kind = self.drawn.choice("sssclpx" if depth < 2 else "s")
        if not self.names[kind]:
            return []
        name = self.names[kind].pop()
        inside = [self.flow(depth + 1) for _ in range(2)] if kind in "cpl" else []
        match kind:
            case "c" if all(inside):
                first = self.drawn.random() < 0.5
                return [choose(when(lambda s: first, *inside[0], name="first"), otherwise=inside[1], name=name)]
            case "p" if all(inside):
                rest: Literal["undo", "finish"] = "undo" if self.drawn.random() < 0.5 else "finish"
                return [parallel(*inside, need=self.drawn.choice(("all", "any")), rest=rest, name=name)]
            case "l" if inside[0]:
                return [loop(*inside[0], while_=lambda s: True, rounds_max=2, name=name)]
            case "x":
                return [sleep(name, SECOND)]
            case _:
                return [leg(name, undo=self.drawn.random() < 0.7)]


def played(scene: Scene, definition: Saga[Talk], drawn: random.Random, most: int) -> Scene:
    """So many messages come or timers fire, until it has ended or waits for its code."""
    for _ in range(most):
        found = successors(Plan(definition=definition), scene, fault=drawn.random() < 0.1)
        one = [move for move in found if move.kind not in ("time_out", "exhaust", "undo_exhaust")]
        one += [Move(kind="tick")] * (bool(scene.timers) and (not one or drawn.random() < 0.1))
        if not one or waits(scene):
            break
        move = drawn.choice(one)
        scene = (replace(move, value={"ok": True}) if move.kind in ("ok", "undo_ok") else move).apply(scene)
    return scene


def waits(scene: Scene) -> bool:
    """For its code."""
    return scene.attention is not None and scene.attention.kind is CauseKind.VERSION


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [False, True], ids=["moved", "of another kind"])
@pytest.mark.long
def test_whatever_code_comes_under_an_instance_it_ends_or_waits_visibly(kinds: bool) -> None:
    """No decision raises, and none leaves an instance that nothing wakes (G4)."""
    became: Counter[Status] = Counter()
    for seed in range(300):
        drawn = random.Random(seed)
        before, after = (Draws(drawn, kinds=kinds).saga() for _ in range(2))
        begun = played(Scene.start(before), before, drawn, drawn.randint(0, 6))
        if all(place.partition("@")[0] in after.tree for place in begun.document.steps):
            ended = played(redeployed(begun, after), after, drawn, 200)
            status = ended.document.status
            assert status.is_final or status is Status.ATTENTION, f"seed {seed}: {ended}"
            became[status] += 1
    assert min(became[each] for each in (Status.ATTENTION, Status.COMPLETED, Status.COMPENSATED)) >= 10, became
