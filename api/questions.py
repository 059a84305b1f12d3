"""The route that lists open questions; the answer is an act on the instance."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client, Question
from ..orchestrator.messages.inputs import ActName
from .bodies import Json
from .identity import Permission, needs
from .paths import instance_path
from .problems import documented
from .queries import Cursor, Limit, only
from .views import iso

__all__ = ["QuestionList", "QuestionView", "questions_router"]


class QuestionView(BaseModel):
    """A question that waits for its answer."""

    instance: str
    step: str
    question: str
    who: list[str] = Field(description="people or roles who may answer")
    claimed_by: str | None = Field(description="the only person who may answer; null: it is not claimed")
    asked: str
    due: str = Field(description="when it times out")
    escalated: bool = Field(description="it was escalated: more people may answer")
    form: dict[str, Any] | None = Field(description="JSON schema of the answer; null: its code is not deployed here")
    acts: dict[str, str] = Field(description="act -> where to POST it, with `by`, `step` and the `value`")


class QuestionList(BaseModel):
    """A page of questions, due soonest first."""

    questions: list[QuestionView]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


def questions_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        "/questions",
        response_model=QuestionList,
        summary="List questions that wait for a person, due soonest first",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_questions(
        request: Request,
        *,
        who: Annotated[
            str | None, Query(max_length=256, description="only those that this person or role may answer")
        ] = None,
        definition: Annotated[str | None, Query(max_length=64)] = None,
        limit: Limit = 200,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "who", "definition", "limit", "cursor")
        page = await client.questions(definition, who=who, limit=limit, cursor=cursor)
        return Json(QuestionList(questions=[_view(each) for each in page.questions], cursor=page.cursor))

    return router


def _view(question: Question) -> QuestionView:
    base = instance_path(question.instance)
    return QuestionView(
        instance=question.instance,
        step=question.step,
        question=question.text,
        who=list(question.who),
        claimed_by=question.claimed_by,
        asked=iso(question.asked_ms),
        due=iso(question.due_ms),
        escalated=question.escalated,
        form=question.form,
        acts={act.value: f"{base}/{act.value}" for act in (ActName.ANSWER, ActName.CLAIM, ActName.ASSIGN)},
    )
