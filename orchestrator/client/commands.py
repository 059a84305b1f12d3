"""Answers to commands from outside their workers: for handlers that returned ``AnswerLater``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pydantic import BaseModel, JsonValue

from ...sagas import Contract
from ..codec.inputs import progress_json
from ..errors import InvalidRequest, ReplyNotAwaited, TransientError
from ..kernel.compatibility import not_deployed
from ..kernel.places import name_of
from ..messages.document import Document
from ..messages.inputs import Completed, Failed, Heartbeat, Rejected, Reply
from ..messages.outputs import Outcome, instance_of_command, place_named
from .asking import Asking
from .checks import ID_CHARS_MAX, check_body, check_text, split_instance
from .parts import ClientParts
from .personal import sealed
from .results import Acted

__all__ = ["Commands"]

_WAIT = timedelta(seconds=10)
_CODE_CHARS_MAX = 256
_TEXT_CHARS_MAX = 1_000


class Commands:
    """Answers commands by their ids, as ``Context.command_id`` gave them.

    Every method returns when its message is decided, and raises:

    - ``ReplyNotAwaited``: no attempt waits for an answer to this command (any more); nothing was changed.
    - ``UnknownInstance``: its instance does not exist, or its retention is over.
    - ``InvalidRequest``: the id, a text or a value cannot be; ``field`` says which.
    - ``TransientError``: the read model does not answer, or has not followed yet.
    - ``NotYetDecided``: it is in the log and no decision was seen within ``wait``.
    - ``LogUnavailable``: it may or may not have been written; the same again is safe.
    """

    def __init__(self, parts: ClientParts, asking: Asking) -> None:
        self._parts, self._asking = parts, asking

    async def complete(
        self,
        command_id: str,
        reply: BaseModel | Mapping[str, JsonValue],
        *,
        wait: timedelta = _WAIT,
        traceparent: str | None = None,
    ) -> Acted:
        """The command took effect. ``reply`` is checked by the contract's model.

        Raises:
            TransientError: also: the code of its instance is not deployed here, so nobody can say what must be sealed.
        """
        instance, place, undo = _parts_of(command_id)
        contract = self._contract(await self._asking.known(instance), command_id, place, undo=undo)
        body = check_body(contract.reply, await sealed(self._parts.vault, contract.reply, reply, "reply"), "reply")
        message = Completed(id=self._parts.clock.new_id(), instance=instance, command_id=command_id, reply=body)
        return await self._ask(message, wait, traceparent)

    async def reject(
        self, command_id: str, reason: str, *, code: str, wait: timedelta = _WAIT, traceparent: str | None = None
    ) -> Acted:
        """A business rejection, as ``Rejected`` of a handler. ``code``: a short word for programs."""
        instance, _, _ = _parts_of(command_id)
        if not reason or not code:
            raise InvalidRequest("a rejection needs a reason and a code", field="reason" if not reason else "code")
        message = Rejected(
            id=self._parts.clock.new_id(),
            instance=instance,
            command_id=command_id,
            reason=check_text(reason, "reason", _TEXT_CHARS_MAX),
            code=check_text(code, "code", _CODE_CHARS_MAX),
        )
        return await self._ask(message, wait, traceparent)

    async def fail(
        self, command_id: str, error: str, *, wait: timedelta = _WAIT, traceparent: str | None = None
    ) -> Acted:
        """This attempt did not succeed: the step is retried by its policy."""
        instance, _, _ = _parts_of(command_id)
        text = check_text(error, "error", _TEXT_CHARS_MAX)
        message = Failed(id=self._parts.clock.new_id(), instance=instance, command_id=command_id, error=text)
        return await self._ask(message, wait, traceparent)

    async def heartbeat(
        self,
        command_id: str,
        progress: Mapping[str, JsonValue] | None = None,
        *,
        wait: timedelta = _WAIT,
        traceparent: str | None = None,
    ) -> Acted:
        """The command is still being worked on; see ``Context.heartbeat``. Each one is a record in the history."""
        instance, _, _ = _parts_of(command_id)
        try:
            body = progress_json(progress) if progress is not None else None
        except ValueError as error:
            raise InvalidRequest(str(error), field="progress") from error
        id = self._parts.clock.new_id()
        message = Heartbeat(id=id, instance=instance, command_id=command_id, progress=body)
        return await self._ask(message, wait, traceparent)

    async def _ask(self, message: Reply | Heartbeat, wait: timedelta, traceparent: str | None) -> Acted:
        await self._asking.known(message.instance)  # else no decision would tell
        record, trace = await self._asking.ask(message, wait, traceparent)
        if record.status is None or record.outcome is Outcome.IGNORED:
            raise ReplyNotAwaited(message.command_id, record.reason)
        return Acted(
            instance=message.instance,
            changed=True,
            status=record.status,
            revision=record.revision,
            trace_id=trace,
        )

    def _contract(
        self, document: Document, command_id: str, place: str, *, undo: bool
    ) -> Contract[BaseModel, BaseModel]:
        """The contract of a command, as the version of its instance has it."""
        definition = self._parts.registry.deciding(document)
        if definition is None:
            text = f"{not_deployed(document).text}, or send the reply where it is: its personal values must be sealed"
            raise TransientError(text)
        step, record = definition.steps.get(name_of(place)), document.steps.get(place)
        found = None if step is None else step.contract
        if undo:  # an operator may have replaced it
            found = None if record is None else definition.contract(record.undo)
        if found is None:
            raise ReplyNotAwaited(command_id, f"{definition!r} sends no such command")
        return found


def _parts_of(command_id: str) -> tuple[str, str, bool]:
    """Instance, place, and whether it is an undo."""
    check_text(command_id, "command_id", 2 * ID_CHARS_MAX)
    instance = instance_of_command(command_id)
    if instance is None:
        raise InvalidRequest(
            f"{command_id[:300]!r} is not a command's id; give the one that the handler's ctx.command_id had",
            field="command_id",
        )
    split_instance(instance)
    return instance, place_named(instance, command_id), command_id.rpartition("/")[0].endswith("/undo")
