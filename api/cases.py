"""The route that tells an operator what is wrong with an instance, and what can be done."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client
from ..orchestrator.kernel.case import OpenStep, case_of
from ..orchestrator.messages.reasons import ReasonCode
from .bodies import Json
from .paths import INSTANCES, instance_of
from .problems import documented
from .queries import only
from .views import CauseView, cause_view

__all__ = ["CaseView", "cases_router"]


class OpenStepView(BaseModel):
    step: str
    status: str
    undo: str | None = Field(description="the contract that takes it back; null: nothing does")
    error: str | None


class OnStepView(BaseModel):
    step: str
    act: str


class CancelView(BaseModel):
    """What a cancel would do now."""

    code: ReasonCode | None = Field(description="why it would not be accepted, for programs; null: it would be")
    reason: str = Field(description="the same for people")
    awaited: list[str] = Field(description="under way: undone after its answer or its deadline")
    undone: list[OpenStepView] = Field(description="in this order")
    stays: list[OpenStepView] = Field(description="done, or may have been, and nothing takes it back")


class CaseView(BaseModel):
    """What an operator must know."""

    id: str
    status: str
    attention: CauseView | None = Field(description="null: nobody has to look")
    stands: list[OpenStepView] = Field(description="took effect or may have, and is not undone")
    acts: list[str] = Field(description="what can be asked of the instance now")
    on_steps: list[OnStepView] = Field(description="what can be asked of its steps now")
    cancel: CancelView


def cases_router(client: Client) -> APIRouter:
    """Reads only."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/case",
        response_model=CaseView,
        summary="Tell what is wrong, what stays undone, what can be done, and what a cancel would do now",
        responses=documented(401, 403, 404, 422, 503),
    )
    async def get_case(request: Request, definition: str, key: str) -> Response:
        only(request)
        document = await client.get(instance_of(definition, key))
        case = case_of(client.registry.deciding(document), document)
        view = CaseView(
            id=document.id,
            status=document.status.value,
            attention=cause_view(case.attention),
            stands=[_step(each) for each in case.stands],
            acts=[act.value for act in case.acts],
            on_steps=[OnStepView(step=step, act=act.value) for step, act in case.on_steps],
            cancel=CancelView(
                code=case.cancel.denied.code if case.cancel.denied else None,
                reason=case.cancel.denied.text if case.cancel.denied else "",
                awaited=list(case.cancel.awaited),
                undone=[_step(each) for each in case.cancel.undone],
                stays=[_step(each) for each in case.cancel.stays],
            ),
        )
        return Json(view)

    return router


def _step(each: OpenStep) -> OpenStepView:
    return OpenStepView(step=each.step, status=each.status.value, undo=each.undo, error=each.error)
