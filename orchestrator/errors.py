"""The one tree of errors, split by who must act.

::

    SagalineError
    ├── DefinitionError          the author of a saga, at import
    ├── CallerError              the caller (HTTP 4xx)
    │   ├── InvalidRequest       the request itself is wrong: names the field
    │   ├── UnknownDefinition, -Event, -Table, -Key, -Instance, -Revision, -Parcel, -DeadLetter, -Schedule, CursorTooOld
    │   └── Conflict             the request contradicts what is on record
    │       ├── StartConflict, VersionConflict, RequestTaken   same key, other input; rules changed meanwhile; id used
    │       └── ActDenied, EventDenied, ReplyNotAwaited   not allowed in this status; no room; no attempt waits for it
    ├── TransientError           nobody: retry
    │   ├── LogUnavailable       the log did not answer in time; TopicGone: a topic was deleted, an operator restores it
    │   └── NotYetDecided, ReadModelCleared, RequestTimedOut, RequestFailed, InboxUnavailable, BlobsUnavailable
    ├── OwnershipLost, WorkerCrashed (workers)   nobody: the next owner or worker continues; Erased, Sealed: the author
    ├── Unreadable, BlobMissing, BlobAltered (workers)   who sent the message; the author; who can restore the object
    └── OperatorError            the operator of the process
        ├── TopicMismatch, ForeignLog   a topic is wrong; the read model was fed from another log
        ├── ConfigurationError   a setting is missing or unsafe
        ├── ValueTooLarge        one record is over the log's limit
        └── CorruptRecord        stored bytes cannot be read: stop (UnreadableBatch: never; MissingKey: without a key)
"""

from __future__ import annotations

from collections.abc import Sequence

from ..sagas.errors import DefinitionError, Erased, SagalineError, Sealed
from .messages.reasons import Reason

__all__ = [
    "ActDenied",
    "CallerError",
    "ConfigurationError",
    "Conflict",
    "CorruptRecord",
    "CursorTooOld",
    "DefinitionError",
    "Erased",
    "EventDenied",
    "ForeignLog",
    "InUse",
    "InvalidRequest",
    "LogUnavailable",
    "MissingKey",
    "NotYetDecided",
    "OperatorError",
    "OwnershipLost",
    "ReadModelCleared",
    "ReplyNotAwaited",
    "RequestFailed",
    "RequestTaken",
    "RequestTimedOut",
    "SagalineError",
    "Sealed",
    "StartConflict",
    "TopicGone",
    "TopicMismatch",
    "TransientError",
    "UnknownDeadLetter",
    "UnknownDefinition",
    "UnknownEvent",
    "UnknownInstance",
    "UnknownKey",
    "UnknownParcel",
    "UnknownRevision",
    "UnknownSchedule",
    "UnknownTable",
    "UnknownPush",
    "UnknownWebhook",
    "UnknownHook",
    "UnreadableBatch",
    "ValueTooLarge",
    "VersionConflict",
]


class CallerError(SagalineError):
    """The request cannot be carried out; the caller must change it."""


class InvalidRequest(CallerError):
    """The request is malformed. ``field`` is a path such as ``input.order.lines`` (empty: the whole body)."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class UnknownDefinition(CallerError):
    """No definition with this name is deployed here."""

    def __init__(self, definition: str, known: tuple[str, ...] = ()) -> None:
        hint = f"; deployed are: {', '.join(known)}" if known else "; nothing is deployed"
        super().__init__(f"there is no definition {definition!r}{hint}")
        self.definition = definition


class UnknownEvent(CallerError):
    """No deployed definition waits for, listens to or emits an event with this name."""

    def __init__(self, event: str, known: tuple[str, ...] = ()) -> None:
        hint = f"; there are: {', '.join(known)}" if known else "; the deployed definitions use none"
        super().__init__(f"there is no event {event!r}{hint}")
        self.event = event


class UnknownTable(CallerError):
    """No deployed definition routes by a table with this name."""

    def __init__(self, table: str, known: tuple[str, ...] = ()) -> None:
        hint = f"; there are: {', '.join(known)}" if known else "; no deployed definition routes by one"
        super().__init__(f"there is no table {table!r}{hint}")
        self.table = table


class UnknownKey(CallerError):
    """No key of the API has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no key {name[:100]!r}; list the keys, or create it")
        self.name = name


class UnknownInstance(CallerError):
    """No instance with this id exists: its start is not decided yet, its retention window is over, or the key is wrong.

    ``undecided``: why no start is decided now, which may be the reason; empty: starts are decided.
    """

    def __init__(self, instance: str, undecided: str = "") -> None:
        why = "check the key, or its retention window is over"
        if undecided:
            why = f"if it was just started, it is not decided yet, because {undecided}; otherwise {why}"
        super().__init__(f"there is no instance {instance!r}: {why}")
        self.instance = instance


class UnknownRevision(CallerError):
    """The instance has no such revision, or it cannot be recomputed from the history; ``why`` says which."""

    def __init__(self, instance: str, revision: int, why: str) -> None:
        super().__init__(f"revision {revision} of {instance!r} cannot be shown: {why}")
        self.instance, self.revision = instance, revision


class UnknownParcel(CallerError):
    """Nothing waits under this id: it was delivered, released or discarded, or never was."""

    def __init__(self, id: str) -> None:
        super().__init__(f"nothing waits in {id!r}: list what is parked and delayed now")
        self.id = id


class UnknownDeadLetter(CallerError):
    """There is no dead letter of this name: its retention is over, or there never was one."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no dead letter {name!r}: list the dead letters for their names")
        self.name = name


class UnknownSchedule(CallerError):
    """There is no schedule with this name: it was never put, or is deleted."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name!r}; list the schedules, or put it")
        self.name = name


class UnknownWebhook(CallerError):
    """There is no webhook with this name: it was never registered, or is deleted."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no webhook {name!r}; list the webhooks, or put it")
        self.name = name


class UnknownHook(CallerError):
    """There is no hook with this name: it was never registered, or is deleted."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no hook {name!r}; list the hooks, or put it")
        self.name = name


class UnknownPush(CallerError):
    """There is no push subscription with this name, or it is another one's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no push subscription {name!r} of yours; list them, or let the browser subscribe")
        self.name = name


class CursorTooOld(CallerError):
    """Events after this cursor are no longer kept, so some would be missed."""

    def __init__(self) -> None:
        super().__init__(
            "the history no longer has all events after this cursor: read the feed without a cursor, which gives a "
            "new one, then read the list of instances, and continue from that cursor"
        )


class Conflict(CallerError):
    """The request contradicts what is on record."""


class StartConflict(Conflict):
    """An instance with this key exists and was started with another input."""

    def __init__(self, instance: str, trace_id: str | None = None) -> None:
        super().__init__(
            f"{instance!r} already exists (trace {trace_id or 'none'}) and was started with another input; "
            "choose another key, or send the same input"
        )
        self.instance, self.trace_id = instance, trace_id


class ActDenied(Conflict):
    """An operator's act is not allowed now. ``status``: of the instance; ``code`` and the message say why."""

    def __init__(self, instance: str, act: str, status: str, reason: Reason) -> None:
        super().__init__(f"{act} of {instance!r} was denied: {reason.text}")
        self.instance, self.act, self.status = instance, act, status
        self.code, self.reason = reason


class EventDenied(Conflict):
    """No instance waits for the event, and there is no room to keep another one of its kind and key. It was not
    published.
    """

    def __init__(self, event: str, key: str, reason: Reason) -> None:
        text = f"event {event!r} for key {key!r} was denied: {reason.text}; publish it again later"
        super().__init__(text)
        self.event, self.key = event, key
        self.code, self.reason = reason


class ReplyNotAwaited(Conflict):
    """No attempt waits for an answer to this command: it was answered, has timed out, or was never sent."""

    def __init__(self, command_id: str, reason: str) -> None:
        super().__init__(f"no answer to {command_id!r} is awaited: {reason}; look at its instance")
        self.command_id, self.reason = command_id, reason


class RequestTaken(Conflict):
    """A request of this id has made a secret of the key, which was in its answer and is kept nowhere."""

    def __init__(self, request_id: str, key: str) -> None:
        super().__init__(
            f"request {request_id[:100]!r} has made a secret of the key {key!r} before, which cannot be shown again. "
            "If its answer was lost, rotate the key by a request with another id: older ones stay valid for the overlap"
        )
        self.request_id, self.key = request_id, key


class VersionConflict(Conflict):
    """The table has another version than the request was to replace: its rules were changed in the meantime."""

    def __init__(self, table: str, version: int, actual: int) -> None:
        super().__init__(f"table {table!r} is at version {actual}, not {version}; read its rules again, then retry")
        self.table, self.version, self.actual = table, version, actual


class TransientError(SagalineError):
    """Nothing is wrong with the request: the same call later may succeed."""


class LogUnavailable(TransientError):
    """The log did not answer within the deadline. Whether a write took effect may be unknown; repeating it is safe."""


class TopicGone(LogUnavailable):
    """Topics were deleted. Whatever needs them is retried, in case they are restored."""

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__(
            f"topic {', '.join(topics)} is gone: restore it from a copy, or use a fresh namespace; "
            "until then nothing that needs it can continue"
        )
        self.topics = tuple(topics)


class NotYetDecided(TransientError):
    """The request is in the log and will be decided; no decision was seen within the requested wait."""

    def __init__(self, instance: str, request_id: str) -> None:
        super().__init__(f"the request for {instance!r} is accepted but not decided yet; read the instance later")
        self.instance, self.request_id = instance, request_id


class RequestTimedOut(TransientError):
    """No answer to a request came in time. ``sent`` False: it was not sent. ``id``: to ask again with.

    If it was sent, it may have been carried out or not; a worker with an inbox carries out one id once.
    """

    def __init__(self, contract: str, queue: str, id: str, seconds: float, *, sent: bool) -> None:
        if sent:
            text = (
                f"no answer to {contract!r} came within {seconds:g} s. It may have been carried out: ask again with "
                f"id={id!r}, which a worker with an inbox carries out once; if none answers, check that a worker reads "
                f"queue {queue!r}"
            )
        else:
            text = (
                f"{contract!r} was not sent within {seconds:g} s: too many requests are under way, or the log does not "
                "answer; ask again later, or fewer at a time"
            )
        super().__init__(text)
        self.contract, self.queue, self.id, self.sent = contract, queue, id, sent


class RequestFailed(TransientError):
    """The worker failed at a request, or its answer cannot be used: it is not known whether it had an effect.

    ``detail``: the end of the worker's traceback, if there was one. ``id``: to ask again with, as ``RequestTimedOut``.
    """

    def __init__(self, contract: str, id: str, error: str, detail: str = "") -> None:
        super().__init__(
            f"{contract!r} failed: {error}; correct the cause, or ask again with id={id!r}, which a worker with an "
            "inbox carries out once"
        )
        self.contract, self.id, self.error, self.detail = contract, id, error, detail


class ReadModelCleared(TransientError):
    """The read model of this namespace was cleared since it was last read: continue from its current position."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"the read model of namespace {namespace} was cleared; continue from its current position")
        self.namespace = namespace


class OwnershipLost(SagalineError):
    """Another owner has taken this partition; nothing of this commit is visible. Release the owner and wait for an
    assignment.
    """


class OperatorError(SagalineError):
    """The operator of the process must act; the message says how."""


class TopicMismatch(OperatorError):
    """A topic is missing or has the wrong configuration. The message names each difference and its remedy."""


class ConfigurationError(OperatorError):
    """A setting is missing, contradicts another or is unsafe."""


class ForeignLog(OperatorError):
    """The read model was fed from another log. It was not changed; the message says what to do."""

    def __init__(self, namespace: str, why: str) -> None:
        super().__init__(
            f"the read model of namespace {namespace} was fed from another log: {why}. Give this log a read model of "
            "its own (--read-model); or, if this log was recreated or restored from an older copy, rebuild the read "
            f"model: saga read-model clear --namespace {namespace}, with the same --log and --read-model"
        )
        self.namespace, self.why = namespace, why


class InUse(ConfigurationError):
    """The port, or the directory of a demo, is already in use."""


class ValueTooLarge(OperatorError):
    """One record is over the log's limit. Nothing was written and the owner stays usable."""

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{what} has {size_bytes:,} bytes, the limit of the log is {limit_bytes:,}")
        self.what, self.size_bytes, self.limit_bytes = what, size_bytes, limit_bytes


class CorruptRecord(OperatorError):
    """Stored bytes cannot be understood; ``where`` is topic/partition/offset. Nothing is guessed."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


class MissingKey(CorruptRecord):
    """Something is sealed by a key that this process does not have. Nothing is lost; with the key it goes on."""

    def __init__(self, key: str, setting: str, where: str = "a sealed value") -> None:
        super().__init__(
            where,
            f"it is sealed by the key {key!r}, which is not in {setting}: add that key there, behind the newest, and "
            "restart this process",
        )
        self.key, self.setting = key, setting


class UnreadableBatch(CorruptRecord):
    """A batch that can never be decoded. Its partition is stopped at ``offset``; the next offset is ``following``."""

    def __init__(self, topic: str, partition: int, offset: int, following: int, cause: str) -> None:
        super().__init__(
            f"{topic}/{partition}/{offset}",
            f"this batch can never be read ({cause}), so the partition is stopped here: find out who wrote it, then "
            f"skip offsets {offset} to {following - 1} with "
            f"`saga topics step-over {topic}/{partition}/{offset} --reason ...`",
        )
        self.topic, self.partition, self.offset = topic, partition, offset
        self.following, self.cause = following, cause

    def again(self) -> UnreadableBatch:
        """A copy to raise again: an error that was raised keeps its old frames."""
        return UnreadableBatch(self.topic, self.partition, self.offset, self.following, self.cause)
