"""Forwarding a routing slip, as a worker does after a stop. Pure, so that simulations use the same code."""

from __future__ import annotations

from dataclasses import replace

from pydantic_core import to_json

from ...sagas.takes import arguments
from .outputs import SendCommand
from .slips import Slip
from .values import JsonObject

__all__ = ["forwarded"]


def forwarded(slip: Slip, instance: str, reply: JsonObject) -> SendCommand | None:
    """The command for the next stop; None: the slip goes home, because no stop is ahead or the reply revises them.

    Args:
        slip: as received with the command.
        instance: the id of its instance.
        reply: of the current stop, by field names.
    """
    revised = slip.revises is not None and reply.get(slip.revises) is not None
    if revised or not slip.ahead:
        return None
    stop = slip.ahead[0]
    variables = slip.variables if slip.into is None else {**slip.variables, slip.into: reply}
    rest = replace(slip, variables=variables, into=stop.into, revises=stop.revises, ahead=slip.ahead[1:])
    return SendCommand(
        instance=instance,
        step=stop.place,
        contract=stop.contract,
        queue=stop.queue,
        undo=False,
        attempt=stop.attempt,
        payload=to_json(arguments(stop.takes, variables)),
        deadline_ms=stop.deadline_ms,
        slip=rest if rest.ahead else None,
        incarnation=slip.incarnation,
    )
