"""Every (standing of an instance, kind of message) has a written answer, and none of them raises.

The table below is the law: one row per standing, one column per message. ``+`` applied, ``=`` fulfilled already,
``.`` ignored, ``x`` refused, ``~`` kept until the code is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from sagaline.orchestrator.kernel import block
from sagaline.orchestrator.messages.inputs import (
    Act,
    ActName,
    Arrival,
    Completed,
    Failed,
    JsonObject,
    Message,
    Rejected,
    Start,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Outcome

from .kernel_kit import REPLIES, TOO_LARGE, Play, lawful, make_saga, play

SIGNS = {
    Outcome.APPLIED: "+",
    Outcome.UNCHANGED: "=",
    Outcome.IGNORED: ".",
    Outcome.DENIED: "x",
    Outcome.DEFERRED: "~",
}


def _none() -> Play:
    return Play(make_saga())


def _done_a(flow: str = "abc") -> Play:
    run = play(make_saga(flow))
    run.ok("a")
    return run


def _waiting() -> Play:
    run = _done_a()
    run.fail("b")
    return run


def _paused() -> Play:
    run = _done_a()
    run.act(ActName.PAUSE)
    return run


def _compensating() -> Play:
    run = _done_a()
    run.reject("b")
    return run


def _cancelled() -> Play:
    run = _done_a()
    run.act(ActName.CANCEL)
    return run


def _attention() -> Play:
    run = play(make_saga(broken="b"))
    run.ok("a")
    run.definition = make_saga()
    return run


def _attention_past_pivot() -> Play:
    run = _done_a("a|b")
    run.reject("b")
    return run


def _attention_undo() -> Play:
    run = _compensating()
    run.reject("a", undo=True)
    return run


def _parked() -> Play:
    run = _done_a()
    run.definition = None
    run.fire("b:deadline")
    return run


def _deployed_again() -> Play:
    run = _parked()
    run.definition = make_saga()
    return run


def _blocked() -> Play:
    run = _done_a()
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    run.stored = block(run.document, arrival, TOO_LARGE).document
    return run


def _completed() -> Play:
    run = play(make_saga("a"))
    run.ok("a")
    return run


def _compensated() -> Play:
    run = _compensating()
    run.ok("a", undo=True)
    return run


def _abandoned() -> Play:
    run = _parked()
    run.act(ActName.ABANDON)
    run.definition = make_saga()
    return run


def _undeployed(make: Callable[[], Play]) -> Play:
    run = make()
    run.definition = None
    return run


STANDINGS: dict[str, Callable[[], Play]] = {
    "none": _none,
    "running": _done_a,
    "running, waiting": _waiting,
    "running, paused": _paused,
    "running, past pivot": lambda: _done_a("a|b"),
    "compensating": _compensating,
    "compensating, in flight": _cancelled,
    "attention, code": _attention,
    "attention, past pivot": _attention_past_pivot,
    "attention, undo": _attention_undo,
    "attention, blocked": _blocked,
    "attention, deployed again": _deployed_again,
    "completed": _completed,
    "compensated": _compensated,
    "abandoned": _abandoned,
    "none, undeployed": lambda: _undeployed(_none),
    "running, undeployed": lambda: _undeployed(_done_a),
    "compensating, undeployed": lambda: _undeployed(_compensating),
    "attention, undeployed": lambda: _undeployed(_attention),
    "attention, parked": _parked,
    "completed, undeployed": lambda: _undeployed(_completed),
    "abandoned, undeployed": lambda: _undeployed(_abandoned),
}


def _reply(run: Play, kind: str, command: str) -> Message:
    name, _, attempt = command.partition("/")
    command_id = f"demo/k/{run.label(name) if run.stored else name}/{attempt}"
    if kind == "completed":
        return Completed(id="r", instance="demo/k", command_id=command_id, reply=REPLIES["undo" in command])
    if kind == "rejected":
        return Rejected(id="r", instance="demo/k", command_id=command_id, reason="no", code="no")
    return Failed(id="r", instance="demo/k", command_id=command_id, error="boom")


def _messages(run: Play) -> Iterator[tuple[str, Message]]:
    yield "start, same", Start(id="s", definition="demo", key="k", input={"n": 1})
    yield "start, other", Start(id="s", definition="demo", key="k", input={"n": 2})
    newest = run.ids[-1] if run.ids else "a/1"
    for kind in ("completed", "rejected", "failed"):
        yield f"{kind}, newest", _reply(run, kind, newest)
        yield f"{kind}, stray", _reply(run, kind, "b/77")
    timers = run.stored.timers if run.stored else {}
    for timer in ("deadline", "retry", "retention"):
        name = next((name for name in timers if name.endswith(timer)), f"a:{timer}")
        due_ms = timers.get(name, run.now_ms)
        yield f"{timer}, due", TimerFired(id="t", instance="demo/k", timer=name, due_ms=due_ms)
        yield f"{timer}, moved", TimerFired(id="t", instance="demo/k", timer=name, due_ms=due_ms - 1)
    for act in ActName:
        yield act.value, _act(act, run)


def _act(act: ActName, run: Play) -> Act:
    """Acts on one step name the newest, with what they bring; a ``waive`` its evidence."""
    steps = run.stored.steps if run.stored else {}
    failed = next((place for place, record in steps.items() if record.status.value == "undo_failed"), None)
    step = failed or next(reversed(steps), "") if act not in WHOLE else ""
    value = BRINGS.get(act)
    return Act(id="a", instance="demo/k", act=act, by="ann", reason="insured", step=step, value=value)


WHOLE = {ActName.CANCEL, ActName.PAUSE, ActName.RESUME, ActName.RETRY, ActName.ABANDON, ActName.REVISE, ActName.EDIT}
BRINGS: dict[ActName, JsonObject] = {
    ActName.SKIP: {"ok": True},
    ActName.EDIT: {"patch": [{"op": "replace", "path": "/n", "value": 7}]},
    ActName.REPLACE_UNDO: {"command": {"n": 7}},
    ActName.FORK: {"key": "new"},
}
COLUMNS = [kind for kind, _ in _messages(_none())]

LAW = """
                            S s C c R r F f D d W w E e x p u t a A C T k i v m n o y
none                      : + + . . . . . . . . . . . . x x x x x x x x x x x x x x x
running                   : = x + . + . + . + . . . . . + + = x x x x x + x x + x x x
running, waiting          : = x . . . . . . + . + . . . + + = x x x x x + x x + x x x
running, paused           : = x ~ . ~ . ~ . . . . . . . + = + x x x x x + x x + x x x
running, past pivot       : = x + . + . + . + . . . . . x + = x x x x x + x x + x x +
compensating              : = x + . + . + . + . . . . . = + = x x x x x x x x + x x x
compensating, in flight   : = x + . + . + . + . . . . . = + = x x x x x x x x + x x x
attention, code           : = x . . . . . . . . . . . . + x = + + x x x + x x + x + x
attention, past pivot     : = x . . . . . . . . . . . . x x = + + x x x + x x + x + +
attention, undo           : = x . . . . . . . . . . . . x x = + + x x x x x + + + x +
attention, blocked        : = x . . . . . . . . . . . . + x = + + x x x + x x + x + x
attention, deployed again : = x . . . . . . . . . . . . + x = + + x x x + x x + x + x
completed                 : = x . . . . . . . . . . + . x x = x x x x x x x x x x x +
compensated               : = x . . . . . . . . . . + . = x = x x x x x x x x x x x x
abandoned                 : = x . . . . . . . . . . + . x x = x = x x x x x x x x x +
none, undeployed          : ~ ~ . . . . . . . . . . . . x x x x x x x x x x x x x x x
running, undeployed       : = x ~ . ~ . ~ . ~ . . . . . x x = x x x x x x x x x x x x
compensating, undeployed  : = x ~ . ~ . ~ . ~ . . . . . = x = x x x x x x x x x x x x
attention, undeployed     : = x . . . . . . . . . . . . x x = x + x x x x x x x x x x
attention, parked         : = x ~ . ~ . ~ . . . . . . . x x = x + x x x x x x x x x x
completed, undeployed     : = x . . . . . . . . . . + . x x = x x x x x x x x x x x x
abandoned, undeployed     : = x . . . . . . . . . . + . x x = x = x x x x x x x x x x
"""


def _row(standing: str) -> str:
    signs = []
    for kind, message in _messages(STANDINGS[standing]()):
        run = STANDINGS[standing]()
        if isinstance(message, TimerFired) and kind.endswith("due"):
            run.now_ms = max(run.now_ms, message.due_ms)
        signs.append(SIGNS[run.apply(message).outcome])
    return " ".join(signs)


def _law() -> dict[str, str]:
    rows = [line.split(":") for line in LAW.strip().splitlines()[1:]]
    return {name.strip(): signs.strip() for name, signs in rows}


@pytest.mark.parametrize("standing", STANDINGS)
def test_every_message_has_its_written_answer(standing: str) -> None:
    """Also: no message raises, and every answer keeps the laws of ``lawful``."""
    assert dict(zip(COLUMNS, _row(standing).split(), strict=True)) == dict(
        zip(COLUMNS, _law()[standing].split(), strict=True)
    )


@pytest.mark.parametrize("standing", STANDINGS)
def test_every_message_is_never_early(standing: str) -> None:
    """G7: a millisecond before its time a timer is ignored in every standing."""
    for _, message in _messages(STANDINGS[standing]()):
        if isinstance(message, TimerFired):
            run = STANDINGS[standing]()
            early = replace(message, due_ms=run.now_ms + 1)
            assert run.apply(early).outcome is Outcome.IGNORED


@pytest.mark.parametrize("code", ["lacks a step", "lacks an undo", "raises", "another version"])
@pytest.mark.parametrize("standing", STANDINGS)
def test_no_message_raises_whatever_code_is_deployed(standing: str, code: str) -> None:
    """G6: total also when the deployed code has changed under the instance."""
    definition = {
        "lacks a step": make_saga("c"),
        "lacks an undo": make_saga(undo=""),
        "raises": make_saga(broken="abc", broken_undo="abc"),
        "another version": make_saga(version=2),
    }[code]
    for kind, message in _messages(STANDINGS[standing]()):
        run = STANDINGS[standing]()
        if isinstance(message, TimerFired) and kind.endswith("due"):
            run.now_ms = max(run.now_ms, message.due_ms)
        lawful(definition, run.stored, message, run.now_ms, run.limits)
