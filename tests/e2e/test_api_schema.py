"""Requests that the OpenAPI document leads to, right and wrong ones: every answer is one that the document names.

schemathesis makes them, with its own checks, against the whole application in this process.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis import Case, HookContext
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.python import asgi
from starlette.types import ASGIApp, Receive, Scope, Send

from sagaline.api import ApiSettings, create_app
from sagaline.orchestrator.cli.verify import verification
from sagaline.orchestrator.push import PushKey
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from tests.dashboard.shop import filled_shop

from .known_requests import NEVER, Known, known_requests, path_of, prepare

SOAK = "SAGALINE_SOAK" in os.environ
REQUESTS = 100_000 if SOAK else 300
SEED = 20_261_129
TOKEN = "a-token-of-enough-length"
IN_SHORT = "^/v1/sagas/{definition}$"
"""The path whose every limit is tried in the short form too."""
BY_MEANING = ["2xx", "3xx", "401", "404", "409", "410", "412", "422", "503"]
"""How a request is answered that fits the document: what it names need not exist, nor fit its definition's models."""

CLOUD_EVENTS: dict[str, Any] = {
    "include-path": "/v1/events",
    "checks": {
        "positive_data_acceptance": {"enabled": False},
        "negative_data_rejection": {
            "expected-statuses": ["207", "400", "403", "404", "405", "409", "415", "422", "503"]
        },
    },
}
"""Plain JSON is an event by its headers, which OpenAPI cannot ask for with one media type alone; 207 names those events
of a batch that are wrong.
"""


class Served:
    """The application with its log and its engine, in the loop in which it is called."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.requests, self.succeeded = folder, 0, set[str]()
        self.operations: dict[str, str] = {}
        self.known: Mapping[str, Known] = {}
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self.requests += 1
            assert self._app is not None
            await self._app(scope, receive, send)
            return
        await receive()
        second = timedelta(seconds=1)
        settings = ApiSettings(
            tokens=(TOKEN,),
            webhook_keys=(b"k" * 32,),
            push=PushKey(PushKey.make(), "mailto:ops@example.com"),
            wait_max=second,
            wait_default=second,
        )
        async with filled_shop(self._folder, order_fulfilment) as (client, base):
            app = create_app(client, clock=base.clock, settings=settings, verifier=verification)
            headers, there = {"Authorization": f"Bearer {TOKEN}"}, httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=there, base_url="http://localhost", headers=headers) as api:
                self.known = known_requests(await prepare(client, base, api), TOKEN)
            self._app = app
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    yield Served(tmp_path)
    asgi.shutdown_lifespans()


def configured(seed: int) -> SchemathesisConfig:
    phases: dict[str, Any] = {name: {"enabled": True} for name in ("examples", "coverage", "fuzzing")}
    phases["examples"]["extra-data-sources"] = {"responses": False}  # or one act is carried out on every case
    phases["stateful"] = {"enabled": SOAK}
    only = [] if SOAK else [{"exclude-path-regex": IN_SHORT, "phases": {"coverage": {"enabled": False}}}]
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {TOKEN}"},
            "request-timeout": 60,
            "max-stream-events": 1,
            "generation": {"max-examples": 200 if SOAK else 2, "database": "none"},
            "phases": phases,
            "checks": {
                "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
                "positive_data_acceptance": {"expected-statuses": BY_MEANING},
            },
            "operations": [*only, CLOUD_EVENTS],
        }
    )


def breaches(served: Served, seed: int) -> Counter[str]:
    """Every answer that is not as the document says, and how often."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", served, config=configured(seed))
    schema.hook("before_add_examples")(partial(add_known, served))
    names = {
        f"{m.upper()} {p}": o["operationId"] for p, ms in schema.raw_schema["paths"].items() for m, o in ms.items()
    }
    served.operations |= names
    found: Counter[str] = Counter()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            served.succeeded |= {
                recorder.label
                for each in recorder.interactions.values()
                if each.response is not None and each.response.status_code < 300
                if recorder.label.startswith(f"{each.request.method} ")  # OPTIONS succeeds everywhere
            }
            for id, checks in recorder.checks.items():
                for failed in (check for check in checks if check.failure_info is not None):
                    seen = recorder.interactions.get(id)
                    text = seen.response.content[:300] if seen is not None and seen.response is not None else b""
                    asked = f"{seen.request.method} {seen.request.uri}" if seen is not None else ""
                    found[f"{recorder.label}: {failed.name}"] += 1
                    print(recorder.label, failed.name, failed.failure_info.failure, asked, text)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            error = event.value if isinstance(event, events.NonFatalError) else event.exception
            found[f"{type(error).__name__}: {error}"] += 1
    return found


def add_known(served: Served, context: HookContext, examples: list[Case]) -> None:
    """One more example, about what is there; a body that is not given is that of the document."""
    operation = context.operation
    assert operation is not None
    known = served.known.get(operation.definition.raw["operationId"], Known({}))
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    media_type, about = next(iter(content.items()), (None, {}))
    body = about.get("example") if known.body is None else dict(known.body)
    path = {**path_of(operation.path), **known.path}
    sent = {} if body is None else {"body": body, "media_type": media_type}
    examples.append(operation.Case(path_parameters=path, query=dict(known.query or {}), **sent))


@pytest.mark.slow
@pytest.mark.timeout(7_200 if SOAK else 300)
@pytest.mark.long
def test_every_answer_is_one_that_the_document_names(served: Served) -> None:
    seed, found = SEED, Counter[str]()
    while served.requests < REQUESTS and not found:
        found = breaches(served, seed)
        seed += 1
    assert not found
    print(served.requests, "requests")
    never = {name for label, name in served.operations.items() if label not in served.succeeded}
    assert never == NEVER.keys() or (SOAK and never < NEVER.keys()), "what is tried long enough may succeed"
    assert served.requests >= REQUESTS
