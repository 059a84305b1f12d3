"""A request of a program that is no saga: its command, and what the asker gets for the worker's answer.

Shared by a producer, which asks over the log, and a bus, which asks in its own process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, assert_never

from pydantic import BaseModel, ValidationError

from ...sagas import Contract
from ...sagas import Rejected as RejectedError
from ...sagas.models import mistakes, read_foreign, write
from ...sagas.policy import to_ms
from ..codec.commands import Command, ReplyTo
from ..errors import InvalidRequest, RequestFailed
from ..messages.inputs import Completed, Failed, Rejected, Reply
from ..messages.texts import said

__all__ = ["answer_of", "command_of", "positive_ms", "writable"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


def command_of(contract: Contract[C, Any], command: C, instance: str, reply_to: ReplyTo | None) -> Command:
    """The command without an id. Its effect key names the contract: one id may be sent to several.

    Raises:
        InvalidRequest: it is not the contract's command, or cannot be written.
    """
    if not isinstance(command, contract.command):
        wanted, given = contract.command.__name__, type(command).__name__
        raise InvalidRequest(f"{contract.name!r} takes {wanted}, not {given}; give that model", field="command")
    with writable("command"):
        payload = write(command, contract.command)
    return Command(
        id="",
        contract=contract.name,
        instance=instance,
        effect_key=f"{instance}/{contract.name}",
        undo=False,
        attempt=1,
        payload=payload,
        reply_to=reply_to,
    )


def answer_of(contract: Contract[C, R], id: str, reply: Reply) -> R:
    """The reply as its model.

    Raises:
        Rejected: the worker's business "no".
        RequestFailed: the worker failed, or its reply does not fit the contract here.
    """
    match reply:
        case Rejected():
            raise RejectedError(reply.reason, code=reply.code)
        case Failed():
            raise RequestFailed(contract.name, id, reply.error, reply.detail)
        case Completed():
            pass
        case _:
            assert_never(reply)
    name = contract.reply.__name__
    try:
        return read_foreign(contract.reply, reply.reply)
    except ValidationError as error:
        why = f"its reply does not fit {name}: {mistakes(error, 'reply')}"
        raise RequestFailed(contract.name, id, f"{why}; deploy the same contract here and in the worker") from error
    except Exception as error:  # validators in the author's model may raise anything
        raise RequestFailed(contract.name, id, f"the check of {name} itself raised {said(error)}") from error


@contextmanager
def writable(field: str) -> Iterator[None]:
    """What cannot be written is the caller's mistake.

    Raises:
        InvalidRequest: in place of a ``ValueError`` of the block.
    """
    try:
        yield
    except ValueError as error:
        raise InvalidRequest(f"the {field} cannot be written: {error}", field=field) from error


def positive_ms(span: timedelta, field: str) -> int:
    """A span of time in milliseconds.

    Raises:
        InvalidRequest: it is not positive.
    """
    if span <= timedelta(0):
        raise InvalidRequest(f"{field} is {span}; give a positive span of time", field=field)
    return to_ms(span)
