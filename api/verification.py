"""The route that shows what ``saga verify`` says of a deployed definition.

The search needs the definition's code, which the process of an API has. It lies above this layer, so ``create_app`` is
given it. Each definition is checked on request, one at a time in a thread, within bounds, and once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.errors import UnknownDefinition
from ..orchestrator.kernel import Registry
from ..sagas.definition import AnyDefinition
from .bodies import Json
from .identity import Permission, needs
from .problems import documented
from .queries import only

__all__ = ["FindingView", "VerificationView", "Verifier", "not_checked", "verification_router"]


class FindingView(BaseModel):
    """A law that a run breaks."""

    law: str
    place: str = Field(description="the node; empty: the definition as a whole")
    message: str
    way: list[str] = Field(description="a shortest run to it, move by move; empty: no single run shows it")


class VerificationView(BaseModel):
    """What ``saga verify`` says of a definition."""

    definition: str
    version: int
    wrong: str | None = Field(description="why it was not checked, and what to do; null: it was")
    findings: list[FindingView] = Field(description="empty and `wrong` null: every law holds in what was explored")
    laws: list[str] = Field(description="what was checked")
    states: int = Field(description="how many were explored")
    faults: int = Field(description="at most so many in one run")
    complete: bool = Field(description="every run with that many faults was explored; false: a bound was reached")


Verifier = Callable[[AnyDefinition, Registry], VerificationView]
"""Checks a definition among the deployed ones, within bounds of its own. It is called in a thread."""


def verification_router(registry: Registry, verifier: Verifier | None) -> APIRouter:
    """Definitions do not change while a process runs, so each is checked once."""
    router = APIRouter(prefix="/v1", tags=["definitions"])
    known: dict[str, VerificationView] = {}
    one_at_a_time = asyncio.Lock()

    @router.get(
        "/definitions/{definition}/verify",
        response_model=VerificationView,
        summary="Check the newest version of a definition over all of its runs, within bounds",
        description="As `saga verify`, at the first request; later ones get the same answer.",
        responses=documented(401, 403, 404, 422),
    )
    @needs(Permission.VIEW)
    async def verify_definition(request: Request, definition: str) -> Response:
        only(request)
        found = registry.find(definition)
        if found is None:
            raise UnknownDefinition(definition, registry.names)
        async with one_at_a_time:
            if definition not in known:
                known[definition] = await asyncio.to_thread(verifier or _nobody, found, registry)
        return Json(known[definition])

    return router


def not_checked(definition: AnyDefinition, wrong: str) -> VerificationView:
    """The answer where a definition could not be checked, with what to do."""
    return VerificationView(
        definition=definition.name,
        version=definition.version,
        wrong=wrong,
        findings=[],
        laws=[],
        states=0,
        faults=0,
        complete=False,
    )


def _nobody(definition: AnyDefinition, registry: Registry) -> VerificationView:
    return not_checked(definition, f"this server checks none; run `saga verify MODULE:SAGA` with {definition.name}")
