"""``/livez``: the process is alive. ``/readyz``: it can serve requests now. Both need no token.

``/metrics``: what was measured, for Prometheus. It says how much is going on here, so it needs a token like the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from ..orchestrator.errors import CorruptRecord, SagalineError, TopicMismatch, TransientError
from ..orchestrator.runtime.exposition import CONTENT_TYPE
from .auth import Guard
from .credentials import Tokens
from .identity import Permission, needs, permitted
from .methods import Allowed, Head
from .problems import documented, handlers, problem
from .settings import ApiSettings

__all__ = ["create_health_app", "health_router", "metrics_router"]

_SECONDS = 3.0
_REMEMBERED_SECONDS = 1.0


class HealthView(BaseModel):
    """``ok``; otherwise the response is a problem."""

    status: Literal["ok"] = "ok"


class ReadyView(HealthView):
    """Ready. ``warnings``: what does not prevent that."""

    warnings: list[str] = Field(default=[], description="queues that no worker reads")


class _Readiness:
    """Checks at most once a second, however many requests come."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._lock = asyncio.Lock()
        self._until = float("-inf")
        self._reason: str | None = None

    async def reason(self) -> str | None:
        async with self._lock:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._until:
                self._reason = await self._ask()
                self._until = loop.time() + _REMEMBERED_SECONDS
            return self._reason

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._check()
        except TimeoutError:
            return f"the log or the read model did not answer within {_SECONDS:g} s"
        except (TransientError, TopicMismatch, CorruptRecord) as error:
            return str(error)
        except SagalineError as error:
            return f"{type(error).__name__}: an operator must check the server's log"
        return None


def health_router(
    check_ready: Callable[[], Awaitable[None]],
    notices: Callable[[], Sequence[str]] = list,
    objections: Callable[[], Sequence[str]] = list,
) -> APIRouter:
    """The routes.

    Args:
        check_ready: raises an error while requests cannot be served; its result is used for a second.
        notices: what does not prevent that.
        objections: what prevents it; asked at every request, before ``check_ready``.
    """
    router = APIRouter(tags=["health"])
    readiness = _Readiness(check_ready)

    @router.get("/livez", response_model=HealthView, summary="Is the process alive?", responses=documented(403))
    @needs("none")
    async def livez() -> HealthView:
        return HealthView()

    @router.get("/readyz", response_model=ReadyView, summary="Can it do its work now?", responses=documented(403, 503))
    @needs("none")
    async def readyz() -> Response:
        reason = "; ".join(objections()) or await readiness.reason()
        if reason is None:
            return Response(ReadyView(warnings=list(notices())).model_dump_json(), media_type="application/json")
        return problem("unavailable", reason)

    return router


def metrics_router(page: Callable[[], str]) -> APIRouter:
    """``page`` makes what Prometheus reads."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        summary="What was measured, for Prometheus",
        responses=documented(401, 403),
    )
    @needs(Permission.VIEW)
    def metrics() -> Response:  # in a thread: the page is made of all that was measured
        return Response(page(), media_type=CONTENT_TYPE)

    return router


def create_health_app(
    check_ready: Callable[[], Awaitable[None]],
    objections: Callable[[], Sequence[str]],
    metrics: Callable[[], str],
    settings: ApiSettings,
) -> FastAPI:
    """The application of a process that may have no API: ``/livez``, ``/readyz``, ``/metrics``, and nothing else.

    Other machines may read the first two, and with a token of ``settings`` the last one. Requests leave no span and no
    line in the log.
    """
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(permitted)],
        exception_handlers=dict(handlers),  # type: ignore[arg-type]  # keys are error classes, as FastAPI expects
    )
    routers = [health_router(check_ready, objections=objections), metrics_router(metrics)]
    for router in routers:
        app.include_router(router)
    app.state.allowed = Allowed(route for router in routers for route in router.routes)
    app.add_middleware(Head)
    app.add_middleware(Guard, credentials=Tokens(settings), anywhere=True)
    return app
