"""Sending a slip on: what a worker does when a stop is done. Pure, so that simulations do exactly the same."""

from __future__ import annotations

from dataclasses import replace

from pydantic_core import to_json

from ...sagas.takes import arguments
from .outputs import SendCommand
from .slips import Slip
from .values import JsonObject

__all__ = ["forwarded"]


def forwarded(slip: Slip, instance: str, reply: JsonObject) -> SendCommand | None:
    """The command for the next stop; None: the slip goes home, because nothing is ahead or what is ahead is revised.

    Args:
        slip: as it came with the command.
        instance: whose it is.
        reply: of the stop that it is at, by field names.
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
