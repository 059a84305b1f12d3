"""What an act would do now (``?dry_run=true``): decided as the engine would, and nothing is sent or changed."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Caller, Client, OnStep
from ..orchestrator.client.what_if import foretold
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.document import Status
from ..orchestrator.messages.inputs import ActName
from ..orchestrator.messages.outputs import Outcome, SendCommand
from ..orchestrator.messages.reasons import ReasonCode
from .bodies import Json

__all__ = ["DryRun", "WhatIfView", "rehearsed"]

DryRun = Annotated[bool, Query(description="only return what it would do now; nothing is sent or changed")]


class WhatIfChange(BaseModel):
    what: str = Field(description="the instance, a fact of it, or a step")
    before: str | None
    after: str


class WhatIfCommand(BaseModel):
    step: str
    contract: str
    queue: str
    undo: bool


class WhatIfView(BaseModel):
    """What an act would do to an instance as it is now; it may change before the act is really sent."""

    id: str
    dry_run: Literal[True] = True
    outcome: Outcome
    code: ReasonCode | None = Field(description="reason code why nothing would change; null: it would be carried out")
    reason: str = Field(description="the reason for people")
    status: Status | None = Field(description="of the instance afterwards")
    revision: int = Field(description="of the instance that was looked at")
    summary: list[str] = Field(description="what would happen, in plain words and in this order")
    changes: list[WhatIfChange]
    commands: list[WhatIfCommand] = Field(description="that would be sent at once")


async def rehearsed(
    client: Client, instance: str, act: ActName, *, by: str | Caller, reason: str, on: OnStep | None
) -> Response:
    """The response to an act that is only tried. Raises InvalidRequest: it is malformed, as when it is sent."""
    document = await client.get(instance)
    decision = await client.rehearse(document, act, by=by, reason=reason, on=on)
    if decision.code is ReasonCode.INVALID:
        raise InvalidRequest(f"{act} of {instance!r}: {decision.reason}")
    after = decision.document
    view = WhatIfView(
        id=instance,
        outcome=decision.outcome,
        code=decision.code,
        reason=decision.reason,
        status=after.status if after is not None else None,
        revision=document.revision,
        summary=list(foretold(client, document, act, decision)),
        changes=[WhatIfChange(what=each.what, before=each.before, after=each.after) for each in decision.changes],
        commands=[
            WhatIfCommand(step=each.step, contract=each.contract, queue=each.queue, undo=each.undo)
            for each in decision.actions
            if isinstance(each, SendCommand)
        ],
    )
    return Json(view)
