"""The route that tells an operator why an instance needs attention, and which acts are possible."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client
from ..orchestrator.kernel.inspection import Outstanding, inspect
from ..orchestrator.messages.reasons import ReasonCode
from .bodies import Json
from .identity import Permission, needs
from .paths import INSTANCES, instance_of
from .problems import documented
from .queries import only
from .views import CauseView, Warnings, cause_view

__all__ = ["InspectionView", "inspections_router"]


class OutstandingView(BaseModel):
    step: str
    status: str
    undo: str | None = Field(description="the contract that undoes it; null: there is none")
    error: str | None


class OnStepView(BaseModel):
    step: str
    act: str


class CancelView(BaseModel):
    """The effect that a cancel would have now."""

    code: ReasonCode | None = Field(description="reason code why it would be denied; null: it would be accepted")
    reason: str = Field(description="the reason for people")
    awaited: list[str] = Field(description="under way: undone after its reply or its deadline")
    undone: list[OutstandingView] = Field(description="undone, in this order")
    stays: list[OutstandingView] = Field(description="done, or may have been, and nothing undoes it")


class InspectionView(BaseModel):
    """What an operator must know about an instance."""

    id: str
    status: str
    attention: CauseView | None = Field(description="null: it does not need attention")
    outstanding: list[OutstandingView] = Field(description="steps that took effect or may have, and are not undone")
    acts: list[str] = Field(description="acts that are possible on the instance now")
    on_steps: list[OnStepView] = Field(description="acts that are possible on its steps now")
    cancel: CancelView
    warnings: Warnings


def inspections_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/inspection",
        response_model=InspectionView,
        summary="Show why it needs attention, what is outstanding, the possible acts, and what a cancel would do",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def inspect_instance(request: Request, definition: str, key: str) -> Response:
        only(request)
        document = await client.get(instance_of(definition, key))
        found = inspect(client.registry.deciding(document), document)
        view = InspectionView(
            id=document.id,
            status=document.status.value,
            attention=cause_view(found.attention),
            outstanding=[_step(each) for each in found.outstanding],
            acts=[act.value for act in found.acts],
            on_steps=[OnStepView(step=step, act=act.value) for step, act in found.on_steps],
            cancel=CancelView(
                code=found.cancel.denied.code if found.cancel.denied else None,
                reason=found.cancel.denied.text if found.cancel.denied else "",
                awaited=list(found.cancel.awaited),
                undone=[_step(each) for each in found.cancel.undone],
                stays=[_step(each) for each in found.cancel.stays],
            ),
            warnings=list(client.notices(document)),
        )
        return Json(view)

    return router


def _step(each: Outstanding) -> OutstandingView:
    return OutstandingView(step=each.step, status=each.status.value, undo=each.undo, error=each.error)
