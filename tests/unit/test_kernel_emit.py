"""``emit``: what is published under which key, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import Published
from sagaline.orchestrator.messages.inputs import Arrival, Start
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas.nodes import emit

from .kernel_nodes import (
    LIFE,
    Did,
    Paid,
    flow_of,
    paid,
    told_by,
)

HOUR_MS = 3_600_000


def test_an_event_is_published_under_its_key() -> None:
    scene = Scene.start(flow_of(emit(paid, lambda s: Paid(amount=s.n), key=lambda s: "k7", name="say")), {"n": 4})
    assert scene.status is Status.COMPLETED
    assert told_by(scene) == [
        Published(
            id=f"talk/k/~1.1~{LIFE}",
            instance="@mailbox/paid/k7",
            event="paid",
            key="k7",
            body={"amount": 4},
            keep_ms=24 * HOUR_MS,
            source="talk/k",
        )
    ]


@pytest.mark.parametrize(
    ("build", "key", "said"),
    [
        (lambda s: Did(), lambda s: "k", "a Did; event 'paid' is a Paid"),
        (lambda s: Paid(amount=1), lambda s: "", "a key that has 0 characters; give 1 to 256"),
        (lambda s: Paid(amount=1), lambda s: 7, "7; a key is a string of 1 to 256 characters"),
    ],
)
def test_what_cannot_be_published_stops_the_instance(build: Any, key: Any, said: str) -> None:
    scene = Scene.start(flow_of(emit(paid, build, key=key, name="say")))
    assert scene.attention is not None
    assert scene.attention.message == f"emit 'say' gave {said}; deploy the fix, then retry"
    assert scene.step("say") is StepStatus.BLOCKED


def test_an_event_over_the_limit_stops_the_instance() -> None:
    """To the byte."""
    saga = flow_of(emit(paid, lambda s: Paid(amount=s.n), key=lambda s: "k", name="say"))
    for amount, fits in ((99, True), (100, False)):
        start = Start(id="s", definition="talk", key="k", input={"n": amount})
        decision = decide(saga, None, Arrival(message=start, now_ms=0), Limits(command_bytes=13))
        assert decision.document is not None
        assert (decision.document.status is Status.COMPLETED) == fits
    assert decision.document.attention is not None
    assert (decision.document.attention.kind, decision.document.attention.message) == (
        CauseKind.TOO_LARGE,
        "the event of emit 'say' is over the limit of 13 bytes; send a reference instead of the content, then retry",
    )
