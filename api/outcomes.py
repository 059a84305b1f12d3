"""What a request has become, as every route that asks for a decision answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Annotated

from fastapi import Query, Response

from ..orchestrator.client import Acted
from ..orchestrator.errors import NotYetDecided
from ..orchestrator.messages.reasons import Reason
from .bodies import Json
from .paths import instance_path
from .views import AcceptedView, OutcomeView, links

__all__ = ["Wait", "accepted", "acted_view"]

Wait = Annotated[
    float | None, Query(description="seconds to wait for the decision, 0 to 60; default: `Prefer: wait=`, or 10")
]


def accepted(instance: str, request_id: str, why: Reason | None = None, warnings: Sequence[str] = ()) -> Response:
    """The request is in the log, and its decision was not seen yet; or why what it begins has to wait."""
    code, text = (None, None) if why is None else why
    view = AcceptedView(
        id=instance, request_id=request_id, code=code, reason=text, links=links(instance), warnings=list(warnings)
    )
    return Json(view, 202, {"Location": instance_path(instance), "Retry-After": "1"})


async def answered(asked: Awaitable[Acted]) -> Response:
    """The response to a request about an instance: its outcome, or that it is not decided yet."""
    try:
        return Json(acted_view(await asked))
    except NotYetDecided as error:
        return accepted(error.instance, error.request_id)


def acted_view(acted: Acted) -> OutcomeView:
    """A request about an instance that was decided."""
    definition, _, key = acted.instance.partition("/")
    return OutcomeView(
        id=acted.instance,
        definition=definition,
        key=key,
        changed=acted.changed,
        status=acted.status,
        revision=acted.revision,
        trace_id=acted.trace_id,
        links=links(acted.instance),
    )
