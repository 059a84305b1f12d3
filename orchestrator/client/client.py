"""``Client``: every request goes through the log and is answered by the record of its decision.

A start or an act carries a request id and is appended to ``inputs``; the history record with that id holds the result.
Queries are answered from the read model; it is waited for, so that a client can always read its own writes. ``tables``,
``locks``, ``mailboxes``, ``parcels`` and ``schedules`` are the other entities; ``dead`` are the dead letters, and
``keys`` the keys of the API; ``personal`` seals, opens and erases data of persons.
``changes`` is the feed of what happens to instances; ``rates`` are numbers of starts by the hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import BaseModel, JsonValue

from ...sagas import Event
from ...sagas.definition import AnyDefinition
from ..errors import EventDenied, InvalidRequest, TransientError, UnknownDefinition, UnknownEvent, UnknownInstance
from ..kernel import Registry
from ..kernel.inspection import awaited_queues
from ..messages.document import Document
from ..messages.entity_messages import Published, publication
from ..messages.inputs import Act, ActName, OnConflict, Start
from ..messages.outputs import Decision, Outcome
from ..ports.read_model import (
    NEWEST_FIRST,
    Condition,
    Count,
    HistoryRow,
    InstanceFilter,
    OperationFilter,
    OperationPage,
    Page,
    Sort,
    WaitFilter,
    WaitKind,
)
from ..ports.topics import Topics
from .acting import denied, rehearsed_act, sealed_act
from .asking import Asking
from .changes import Changes
from .checks import ID_CHARS_MAX, check_act, check_body, check_id, check_input, check_key, check_text, split_instance
from .commands import Commands
from .conditions import condition_of
from .dead import DeadLetters
from .entities import Locks, Mailboxes
from .hooks import Hooks
from .keys import Keys
from .parcels import Parcels
from .parts import ClientParts
from .personal import PersonalData, sealed
from .pushes import Pushes
from .questions import overdue_of, questions_of
from .queues import Queues
from .rates import Rates
from .records import Records
from .results import Acted, Caller, OnStep, OverduePage, QuestionsPage, Started
from .schedules import Schedules
from .starting import conflict_of, reason_of, started
from .tables import Tables
from .webhooks import Webhooks

__all__ = ["Client"]

DEFAULT_WAIT = timedelta(seconds=10)
_LAG_MAX = 10_000
_ALL = InstanceFilter()
_ALL_OPERATIONS = OperationFilter()


class Client:
    """Starts, queries and operates instances. Safe for concurrent use by tasks of one event loop."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._asking = Asking(parts)
        self.changes = Changes(parts)
        self.commands = Commands(parts, self._asking)
        self.tables = Tables(parts, self._asking)
        self.keys = Keys(parts, self.tables)
        self.webhooks = Webhooks(self.tables, parts, self.changes)
        self.hooks = Hooks(self.tables, parts)
        self.pushes = Pushes(self.tables, parts)
        self.personal = PersonalData(parts.vault, self.tables)
        self.parcels = Parcels(parts, self._asking)
        self.dead = DeadLetters(parts, self._asking)
        self.schedules = Schedules(parts, self._asking)
        self.locks = Locks(parts.read_model, self._asking)
        self.queues = Queues(parts)
        self.rates = Rates(parts, self._asking)
        self.records = Records(parts)
        self.mailboxes = Mailboxes(parts.read_model, self._asking)

    @property
    def registry(self) -> Registry:
        """The definitions that this client can start."""
        return self._parts.registry

    @property
    def topics(self) -> Topics:
        """The names of its namespace's topics."""
        return self._parts.topics

    def fresh_id(self) -> str:
        """A new unique id."""
        return self._parts.clock.new_id()

    @property
    def now_ms(self) -> int:
        """The wall-clock time, milliseconds since epoch."""
        return self._parts.clock.now_ms()

    async def start(
        self,
        definition: str | AnyDefinition,
        input: BaseModel | Mapping[str, JsonValue],
        *,
        key: str | None = None,
        version: int | None = None,
        conflict: OnConflict = "reject",
        request_id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
        traceparent: str | None = None,
    ) -> Started:
        """Starts an instance and returns when the decision is committed: after that it is never lost.

        If the engine does not have the definition or the version yet, the instance waits, visibly; see
        ``Started.waits``. The same key with the same input again returns the same instance (``created`` False), so a
        start may be repeated.

        Args:
            definition: its name, or the definition itself.
            input: the first value of the saga's state, as a model or as JSON.
            key: the business key, 1 to 256 characters and at most 512 bytes; None: a new one is generated.
            version: None: the newest that this client knows. The instance gets this version, whose model has checked
                the input, even when the engine has a newer one.
            conflict: what to do if the key has an instance already. ``reject``: an error, unless the input is the same.
                ``attach``: that instance is returned, with ``created`` False. ``queue``: begins a new run of the key
                as soon as that one has ended, with effect keys of its own; 16 starts may wait. ``replace``: the same,
                and that one is cancelled; starts that wait are dropped.
            request_id: with ``queue`` and ``replace``: to repeat a start after an error; it is taken once while it is
                among the last 20 of the key. None: a new id is made. Without ``key`` it is the key too.
            wait: how long to wait for the decision, once the request is in the log.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            UnknownDefinition: no definition of that name is deployed.
            InvalidRequest: key, version, input or policy is wrong; ``field`` says where.
            StartConflict: an instance with the same key and another input exists.
            ActDenied: of ``queue`` and ``replace``: too many starts wait, or the run is past its pivot.
            NotYetDecided: the request is in the log and no decision was seen within ``wait``.
            LogUnavailable: it may or may not have been written; repeat it with the same key.
            ValueTooLarge: the input is larger than the log accepts.
        """
        saga = self._definition(definition, version)
        key = key if key is not None else request_id
        start = Start(
            id=self._parts.clock.new_id() if request_id is None else check_text(request_id, "request_id", ID_CHARS_MAX),
            definition=saga.name,
            key=check_key(key) if key is not None else self._parts.clock.new_id(),
            input=check_input(saga, await sealed(self._parts.vault, saga.state, input, "input")),
            version=saga.version,
            conflict=conflict_of(conflict),
        )
        record, trace = await self._asking.ask(start, wait, traceparent)
        return started(start, record, trace, attach=conflict == "attach")

    async def act(
        self,
        instance: str,
        act: ActName,
        *,
        by: str | Caller = "",
        reason: str = "",
        on: OnStep | None = None,
        request_id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
        traceparent: str | None = None,
    ) -> Acted:
        """Sends an operator's act and returns when it is decided.

        Args:
            instance: ``definition/key``.
            act: the act.
            by: the caller's name, for the history; at most 256 characters. With the caller's groups if a question may
                be put to one of them.
            reason: why, for the history; at most 2,000 characters. For ``waive`` the evidence of the loss.
            on: the step that the act is about, and the act's value; see ``OnStep``.
            request_id: a repeated request acts once while it is among the last 20 of the instance, and its id stands
                for no other act; None: a new id is made.
            wait: how long to wait for the decision.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            UnknownInstance: there is no instance with that id.
            ActDenied: the act is not allowed in the instance's current state; ``code`` and ``reason`` say why. With a
                value also: the code of the instance is not deployed here, so its personal values cannot be sealed.
            InvalidRequest: an id or text is malformed, or the act cannot use the given step or value.
            TransientError: with a value: the read model has not caught up yet, or does not answer.
            NotYetDecided, LogUnavailable: as ``start``.
        """
        id = check_text(request_id, "request_id", ID_CHARS_MAX) if request_id else self._parts.clock.new_id()

        def written(on: OnStep | None) -> Act:
            return check_act(instance, act, id=id, by=by, reason=reason, on=on)

        request = await sealed_act(self._parts, self._asking, on, written)
        record, trace = await self._asking.ask(request, wait, traceparent)
        if record.status is None:
            raise UnknownInstance(instance)
        if record.outcome is Outcome.DENIED:
            raise denied(request, record.status, reason_of(record))
        return Acted(
            instance=instance,
            changed=record.outcome is Outcome.APPLIED,
            status=record.status,
            revision=record.revision,
            trace_id=trace,
        )

    async def rehearse(
        self, document: Document, act: ActName, *, by: str | Caller = "", reason: str = "", on: OnStep | None = None
    ) -> Decision:
        """The result that an act would have now: decided as the engine would; nothing is sent or changed.

        Args:
            document: the instance as ``get`` or ``list`` returns it; it may have changed when the act is really sent.
            act: this and the following arguments as for ``act``.

        Raises:
            InvalidRequest: as ``act``.
        """
        id = self._parts.clock.new_id()

        def written(on: OnStep | None) -> Act:
            return check_act(document.id, act, id=id, by=by, reason=reason, on=on)

        return await rehearsed_act(self._parts, document, on, written)

    async def cancel(self, instance: str, *, by: str = "", reason: str = "", wait: timedelta = DEFAULT_WAIT) -> Acted:
        """Cancels an instance: what it did is undone; see ``act``."""
        return await self.act(instance, ActName.CANCEL, by=by, reason=reason, wait=wait)

    async def publish(
        self,
        event: str | Event[Any],
        body: BaseModel | Mapping[str, JsonValue],
        *,
        key: str,
        id: str | None = None,
        wait: timedelta = DEFAULT_WAIT,
        traceparent: str | None = None,
    ) -> str:
        """Publishes an event and returns its id once it is delivered or kept: after that it is never lost.

        It is delivered to the instances that wait for that event and key, now or within its ``keep``, and to the
        process managers that listen to it. While it is kept, another event with the same id changes nothing, so
        publishing with an id may be repeated.

        Args:
            event: its name, or the event itself.
            body: its body, as a model or as JSON.
            key: the key that waiting instances match, with the limits of ``start``.
            id: the event's id; None: a new one is generated.
            wait: how long to wait for the decision, once the event is in the log.
            traceparent: the W3C trace context to continue; None: a new trace.

        Raises:
            UnknownEvent: no deployed definition waits for, listens to or emits an event of that name.
            InvalidRequest: key, id or body is wrong; ``field`` says where.
            EventDenied: nothing waits for it, and there is no room to keep it.
            NotYetDecided: it is in the log and no decision was seen within ``wait``. If it is denied later, it becomes
                a dead letter.
            LogUnavailable: it may or may not have been written; repeat it with the same id.
            ValueTooLarge: the body is larger than the log accepts.
        """
        parts = self._parts
        known = {each.name: each for definition in parts.registry for each in definition.events}
        name = event if isinstance(event, str) else event.name
        if name not in known:
            raise UnknownEvent(name, tuple(sorted(known)))
        id = parts.clock.new_id() if id is None else check_id(id)
        body = await sealed(parts.vault, known[name].model, body, "body")
        checked = check_key(key), check_body(known[name].model, body)
        published = self._to_subscribers(publication(known[name], *checked, id=id, source=self._asking.source))
        record, _ = await self._asking.ask(published, wait, traceparent)
        if record.outcome is Outcome.DENIED:
            raise EventDenied(name, key, reason_of(record))
        return published.id

    def _to_subscribers(self, event: Published) -> Published:
        """Adds the listeners that this client knows: the engine may have an older version."""
        found, _ = self._parts.registry.subscribers(event)  # the engine reports errors of the others
        return replace(event, to=found)

    async def get(self, instance: str) -> Document:
        """The current instance; it includes every decision that this client has waited for.

        Raises:
            UnknownInstance: it does not exist, or its retention is over.
            InvalidRequest: the id is malformed.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        split_instance(instance)
        followed = await self._asking.followed(instance)
        document = await self._parts.read_model.get(instance)
        if document is None and followed:
            await self._asking.caught_up()
            document = await self._parts.read_model.get(instance)
        if document is None:
            raise self._asking.unknown(instance) if followed else _lagging(instance)
        return document

    async def list(
        self, where: InstanceFilter = _ALL, *, limit: int = 50, cursor: str | None = None, sort: Sort = NEWEST_FIRST
    ) -> Page:
        """Instances page by page, by default the newest start first; includes all that this client has started.

        An instance that matches during the whole query is on exactly one page, even if it changes in between. With a
        ``sort`` by values that change, one whose value changes in between may be on two pages, or on none.

        Raises:
            InvalidRequest: the cursor is not one of this list and order.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.list(where, limit=limit, cursor=cursor, sort=sort)

    async def count(self, where: InstanceFilter = _ALL) -> Count:
        """How many instances match, exactly up to 10,000; includes all that this client has started.

        Raises:
            TransientError: as ``list``.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.count(where)

    async def unfinished(self) -> int:
        """How many instances have not ended, in the read model now. Raises: TransientError: it does not answer."""
        return sum(each.open for each in (await self._parts.read_model.tally()).values())

    def condition(self, text: str) -> Condition:
        """The condition on a searchable field that a text such as ``total_cents>=1000`` means.

        Raises:
            InvalidRequest: it is no condition, or no deployed definition has such a field.
        """
        return condition_of(text, self.registry.searchable)

    async def operations(
        self, where: OperationFilter = _ALL_OPERATIONS, *, limit: int = 50, cursor: str | None = None
    ) -> OperationPage:
        """Who asked for what, when and why, and how it was decided: acts, and changes of tables, schedules, parcels and
        dead letters; newest first.

        Raises:
            InvalidRequest, TransientError: as ``list``.
        """
        await self._asking.all_followed()
        return await self._parts.read_model.operations(where, limit=limit, cursor=cursor)

    async def overdue(
        self, definition: str | None = None, *, limit: int = 200, cursor: str | None = None
    ) -> OverduePage:
        """Steps that exceed their ``expected_within``, longest overdue first.

        Args:
            definition: only steps of this definition.
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            InvalidRequest, TransientError: as ``list``.
        """
        await self._asking.all_followed()
        where = WaitFilter(WaitKind.OVERDUE, definition)
        page = await self._parts.read_model.waits(where, limit=limit, cursor=cursor)
        return OverduePage(overdue_of(page.rows), page.cursor)

    async def questions(
        self, definition: str | None = None, *, who: str | None = None, limit: int = 200, cursor: str | None = None
    ) -> QuestionsPage:
        """Questions that wait for a person, due soonest first.

        Args:
            definition: only questions of this definition.
            who: only questions that this person or role may answer now.
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            InvalidRequest, TransientError: as ``list``.
        """
        if who == "":
            raise InvalidRequest("who is empty; name a person or role, or omit it", field="who")
        await self._asking.all_followed()
        where = WaitFilter(WaitKind.QUESTION, definition, who)
        page = await self._parts.read_model.waits(where, limit=limit, cursor=cursor)
        return QuestionsPage(questions_of(page.rows, self._parts.registry), page.cursor)

    async def history(
        self, instance: str, *, after: int = -1, limit: int = 100, newest_first: bool = False
    ) -> Sequence[HistoryRow]:
        """Decisions about an instance with a sequence above ``after``, oldest first; kept longer than the instance.

        Args:
            newest_first: in the other order: those with a sequence below ``after``; -1: from the newest on.

        Raises:
            UnknownInstance: there is no decision about it.
            InvalidRequest: the id is malformed.
            TransientError: as ``get``.
        """
        split_instance(instance)
        read = partial(self._parts.read_model.history, instance, after=after, limit=limit, newest_first=newest_first)
        followed = await self._asking.followed(instance)
        rows = await read()
        if not rows and await self._nothing_known(instance):
            if not followed:
                raise _lagging(instance)
            await self._asking.caught_up()
            rows = await read()
            if not rows and await self._nothing_known(instance):
                raise self._asking.unknown(instance)
        return rows

    def notices(self, about: Document | str | None = None) -> Sequence[str]:
        """What keeps an instance from going on although nothing is wrong with it: no engine decides, or no worker reads
        a queue on which it waits. As seen some seconds ago; empty: nothing is known to.

        Args:
            about: an instance, or the name of a definition whose instances are about to start; None: all queues of the
                definitions that are known here.
        """
        if about is None:
            queues = self.registry.queues
        elif isinstance(about, str):
            definition = self.registry.find(about)
            queues = definition.queues if definition is not None else frozenset()
        else:
            queues = awaited_queues(self.registry.deciding(about), about)
        return self._parts.watch.notices(queues)

    def stop_waiting(self) -> None:
        """Ends all present and future waits: each request in the log raises ``NotYetDecided`` at once, and ``changes``
        returns what there is. For a process that is about to end.
        """
        self._parts.feed.stop_waiting()

    async def check_ready(self) -> None:
        """Returns if requests can be served: a start can be written, and will be decided.

        Raises:
            TransientError: the log does not answer, a topic is missing, no engine owns a partition or an engine makes
                no progress, or the read model does not answer, has not caught up yet, is far behind or belongs to
                another log; the message says which.
        """
        if not self._parts.feed.is_open:
            raise TransientError("the feed of decisions is not open yet")
        await self._parts.read_model.standing()
        await self._parts.projector.followed(timeout=0)
        lag = await self._parts.projector.lag()
        if lag > _LAG_MAX:
            raise TransientError(f"the read model is about {lag:,} records behind the log")
        await self._parts.watch.check()

    def _definition(self, definition: str | AnyDefinition, version: int | None) -> AnyDefinition:
        name = definition if isinstance(definition, str) else definition.name
        if not isinstance(definition, str) and version is None:
            version = definition.version
        saga = self._parts.registry.find(name, version)
        if saga is not None:
            return saga
        known = sorted(each.version for each in self._parts.registry if each.name == name)
        if not known:
            raise UnknownDefinition(name, self._parts.registry.names)
        raise InvalidRequest(
            f"version {version} of {name!r} is not deployed; deployed are: {', '.join(map(str, known))}",
            field="version",
        )

    async def _nothing_known(self, instance: str) -> bool:
        if await self._parts.read_model.get(instance) is not None:
            return False
        return not await self._parts.read_model.history(instance, limit=1)


def _lagging(instance: str) -> TransientError:
    return TransientError(f"{instance!r} was decided but cannot be read yet: the read model is behind; try again")
