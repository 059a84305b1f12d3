"""What an act would do now, in plain words: the sentences about a rehearsed decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..kernel.inspection import inspect
from ..messages.document import Document
from ..messages.inputs import ActName
from ..messages.outputs import Change, Decision, Outcome, Publish, SendCommand, Tell
from .client import Client

__all__ = ["foretold"]

_FACTS = {
    "instance": "the instance",
    "phase": "its phase",
    "version": "its version",
    "itinerary": "its itinerary",
}


def foretold(client: Client, document: Document, act: ActName, decision: Decision) -> Sequence[str]:
    """The sentences, in the order in which it would happen.

    Args:
        client: its definitions say what a cancel would undo after the first commands.
        document: that was rehearsed.
        act: that was rehearsed.
        decision: its result.
    """
    if decision.outcome in (Outcome.DENIED, Outcome.IGNORED):
        return (f"it would be denied: {decision.reason}",)
    if decision.outcome is Outcome.UNCHANGED:
        return (f"nothing would change: {decision.reason}",)
    if decision.outcome is Outcome.DEFERRED:
        return (f"it would wait: {decision.reason}",)
    found = [*map(_change, decision.changes), *_sent(decision)]
    if act is ActName.CANCEL:
        found += _after_cancel(client, document)
    return tuple(found) or ("it would be accepted, and no step changes",)


def _change(change: Change) -> str:
    what = _FACTS.get(change.what)
    match change.what:
        case "paused":
            return "the instance would be paused" if change.after == "paused" else "the instance would go on"
        case "denied":
            return f"event {change.before!r} would become a dead letter: {change.after}"
        case "state":
            return "its state would be edited"
        case "restart":
            return f"the steps from {change.after!r} on would be undone and run again"
        case "fork":
            return f"the instance {change.after!r} would be started"
    if change.before is None:
        return f"{what or f'step {change.what!r}'} would become {change.after}"
    return f"{what or f'step {change.what!r}'} would go from {change.before} to {change.after}"


def _sent(decision: Decision) -> Iterator[str]:
    for action in decision.actions:
        match action:
            case SendCommand():
                what = "the undo" if action.undo else f"attempt {action.attempt}"
                yield f"{what} of step {action.step!r}: {action.contract} would be sent to the queue {action.queue}"
            case Publish():
                yield f"the event {action.event.event!r} would be published"
            case Tell():
                yield f"{action.message.instance} would be told ({action.message.kind})"
            case _:
                pass


def _after_cancel(client: Client, document: Document) -> Iterator[str]:
    cancel = inspect(client.registry.deciding(document), document).cancel
    if cancel.awaited:
        yield f"under way, and undone after the reply or the deadline: {', '.join(cancel.awaited)}"
    if cancel.undone:
        yield f"undone, in this order: {', '.join(each.step for each in cancel.undone)}"
    if cancel.stays:
        yield f"done, or may have been, and nothing undoes it: {', '.join(each.step for each in cancel.stays)}"
