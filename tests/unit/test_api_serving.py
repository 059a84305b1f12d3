"""Serving: a real uvicorn on loopback, what is refused before it listens, and the document that describes it all."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from sagaline.api import ApiSettings, bind, create_app, serving
from sagaline.api.auth import is_loopback
from sagaline.api.door import Door
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.errors import ConfigurationError
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.tracing import Tracing

from .stack import order, stack

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OPEN_HOOK = ("/v1/hooks/{name}", "post")
"""Its signature says who sends it."""
WITHOUT_BODY = ("/v1/logout", "/v1/tickets", "/v1/personal/rewrap")
HOOK_AND_PUSH_ROUTES = {
    ("get", "/v1/hooks"),
    *((verb, "/v1/hooks/{name}") for verb in ("post", "get", "put", "delete")),
    *(("post", f"/v1/hooks/{{name}}/{verb}") for verb in ("rotate", "secret")),
    ("get", "/v1/push/key"),
    *((verb, "/v1/push/subscriptions") for verb in ("get", "post")),
    *((verb, "/v1/push/subscriptions/{name}") for verb in ("get", "delete")),
    ("post", "/v1/push/subscriptions/{name}/test"),
}
OPEN_TO_ALL = ["0.0.0.0", "", "::", "192.0.2.1", "shop.example", "127.0.0.1.example"]


CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"


async def exchange(port: int, body: bytes) -> bytes:
    """Sends a start whose body never ends; the answer's head, once the server has closed the connection."""
    head = b"POST /v1/sagas/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + body)
        answer = await reader.read(65_536)
        while await reader.read(65_536):
            pass
        writer.close()
    return answer.partition(b"\r\n\r\n")[0]


@pytest.mark.slow
async def test_a_real_server_starts_answers_and_stops(tmp_path: Path) -> None:
    settings = ApiSettings()
    async with stack(tmp_path) as up:
        app = create_app(up.client, clock=SystemClock(), settings=settings)
        listener = bind("127.0.0.1", 0, settings)
        async with serving(app, listener, settings) as url, httpx.AsyncClient(base_url=url) as api:
            answer = await api.post("/v1/sagas/order-checkout", json={"key": "a/b?c#d%2F", "input": order()})
            assert answer.status_code == 201
            shown = await api.get(answer.headers["location"])
            assert shown.json()["key"] == "a/b?c#d%2F"
            assert "server" not in shown.headers

            port = listener.getsockname()[1]
            for body in (b"content-length: 99999999\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n" + CHUNK * 5):
                head = await exchange(port, body)
                assert head.startswith(b"HTTP/1.1 413 ")
                assert b"connection: close" in head.lower()
            assert (await api.get("/livez")).status_code == 200
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient() as late:
                await late.get(f"{url}/livez")


@pytest.mark.slow
@pytest.mark.parametrize("head", [b"", b"GET /livez HTTP/1.1\r\nhost: local"])
async def test_a_head_that_does_not_come_closes_its_connection(tmp_path: Path, head: bytes) -> None:
    settings = ApiSettings(head_timeout=timedelta(milliseconds=100))
    async with stack(tmp_path, engine=False) as up:
        app = create_app(up.client, clock=SystemClock(), settings=settings)
        listener = bind("127.0.0.1", 0, settings)
        async with serving(app, listener, settings) as url, httpx.AsyncClient(base_url=url) as api:
            assert (await api.get("/livez")).status_code == 200
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
                writer.write(head)
                assert await reader.read() == b""
                writer.close()
            assert (await api.get("/livez")).status_code == 200


def certificate(folder: Path) -> tuple[Path, Path]:
    """One that this machine signed for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    )
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    ca = x509.BasicConstraints(ca=True, path_length=None)
    signed = made.add_extension(local, critical=False).add_extension(ca, critical=True).sign(key, hashes.SHA256())
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(signed.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@pytest.mark.slow
async def test_with_a_certificate_tls_is_served_and_nothing_else(tmp_path: Path) -> None:
    settings = ApiSettings(tls=certificate(tmp_path))
    async with stack(tmp_path, engine=False) as up:
        app = create_app(up.client, clock=SystemClock(), settings=settings)
        async with serving(app, bind("127.0.0.1", 0, settings), settings) as url:
            assert url.startswith("https://127.0.0.1:")
            trusted = ssl.create_default_context(cafile=tmp_path / "tls.crt")
            async with httpx.AsyncClient(base_url=url, verify=trusted) as api:
                assert (await api.get("/livez")).status_code == 200
            async with httpx.AsyncClient() as plain:
                with pytest.raises(httpx.HTTPError):
                    await plain.get(f"{url.replace('https', 'http')}/livez")


def test_a_certificate_that_cannot_be_served_is_told_before_it_listens(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    for wrong in ((files[0], tmp_path / "none"), (files[1], files[0]), (files[0], certificate(tmp_path / "other")[1])):
        with pytest.raises(ConfigurationError, match="TLS cannot be served"):
            ApiSettings(tls=wrong)


@pytest.mark.parametrize("host", OPEN_TO_ALL)
def test_without_a_token_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ConfigurationError, match="SAGALINE_API_TOKENS"):
        bind(host, 0, ApiSettings())
    assert not is_loopback(host)


async def test_a_socket_that_somebody_else_opened_to_all_is_refused_too(tmp_path: Path) -> None:
    async with stack(tmp_path, engine=False) as up:
        app = create_app(up.client, clock=SystemClock())
        with Door() as listener:
            listener.bind(("", 0))
            with pytest.raises(ConfigurationError, match="without authentication"):
                async with serving(app, listener, ApiSettings()):
                    pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    with bind(host, 0, ApiSettings()) as listener:
        assert listener.getsockname()[1] > 0


def test_a_taken_port_is_said_or_the_next_one_is_found() -> None:
    with bind("127.0.0.1", 0, ApiSettings()) as first:
        taken = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {taken} .* is taken"):
            bind("127.0.0.1", taken, ApiSettings())
        with bind("127.0.0.1", taken, ApiSettings(), tries=50) as second:
            assert taken < second.getsockname()[1] < taken + 50


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(ConfigurationError, match="address of this machine"):
        bind("192.0.2.1", 0, ApiSettings(tokens=("a-token-of-enough-length",)))


async def test_the_trace_goes_from_the_caller_through_the_request_into_the_decision(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    async with stack(tmp_path, tracing=tracing) as up:
        app = create_app(up.client, clock=SystemClock(), tracing=tracing)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            answer = await api.post(
                "/v1/sagas/order-checkout",
                json={"key": "A-1", "input": order()},
                headers={"traceparent": TRACEPARENT},
            )
            own = await api.get("/v1/definitions")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    server, request, decide = spans["POST /v1/sagas/{definition}"], spans["request start"], spans["decide Start"]
    run = decide.parent.span_id
    assert server.kind is SpanKind.SERVER
    assert format(server.parent.span_id, "016x") == TRACEPARENT.split("-")[2]
    assert request.parent.span_id == server.context.span_id
    assert spans["send reserve-stock"].parent.span_id == decide.context.span_id
    assert [link.context.span_id for link in decide.links] == [request.context.span_id], "its run is below the request"
    assert run not in {span.context.span_id for span in spans.values()}, "it has not ended"
    assert {span.context.trace_id for span in (server, request, decide)} == {int(TRACEPARENT.split("-")[1], 16)}
    assert server.attributes["http.route"] == "/v1/sagas/{definition}"
    assert server.attributes["http.response.status_code"] == 201
    assert server.attributes["http.request.method"] == "POST"
    assert server.attributes["url.path"] == "/v1/sagas/order-checkout"
    assert server.attributes["url.scheme"] == "http"
    assert server.attributes["server.address"] == "localhost"
    assert answer.headers["traceresponse"] == f"00-{TRACEPARENT.split('-')[1]}-{server.context.span_id:016x}-01"
    assert own.headers["traceresponse"].split("-")[1] != TRACEPARENT.split("-")[1]
    provider.shutdown()


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with stack(tmp_path_factory.mktemp("openapi"), engine=False) as up:
            settings = ApiSettings(tokens=("a-token-of-enough-length",))
            app = create_app(up.client, clock=SystemClock(), settings=settings)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
                document: dict[str, Any] = (await api.get("/openapi.json")).json()
                return document

    return asyncio.run(read())


class TestDocument:
    """The OpenAPI document is whole: routes, examples, problems."""

    @staticmethod
    def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield path, method, operation

    def test_every_route_stands_in_it(self, document: dict[str, Any]) -> None:
        item = "/v1/instances/{definition}/{key}"
        assert {(method, path) for path, method, _ in self.operations(document)} == {
            ("post", "/v1/sagas/{definition}"),
            ("get", "/v1/instances"),
            ("get", "/v1/instances/count"),
            ("get", "/v1/instances/rates"),
            ("get", item),
            *(("post", f"{item}/{act.value}") for act in ActName),
            *(("get", f"{item}/{each}") for each in ("graph", "history", "inspection", "timeline")),
            ("get", f"{item}/revisions/{{revision}}"),
            ("get", "/v1/definitions/{definition}/verify"),
            ("post", "/v1/events/{event}"),
            ("post", "/v1/events"),
            ("post", "/v1/heartbeats"),
            ("post", "/v1/replies"),
            ("get", "/v1/overdue"),
            ("get", "/v1/operations"),
            ("get", "/v1/topics"),
            ("get", "/v1/topics/{topic}/records"),
            ("post", "/v1/bulk"),
            ("get", "/v1/questions"),
            ("get", "/v1/queues"),
            ("get", "/v1/tables"),
            ("get", "/v1/tables/{name}"),
            ("put", "/v1/tables/{name}"),
            ("get", "/v1/tables/{name}/history"),
            ("get", "/v1/events"),
            ("get", "/v1/events/stream"),
            ("post", "/v1/login"),
            ("post", "/v1/logout"),
            ("get", "/v1/me"),
            ("post", "/v1/tickets"),
            ("get", "/v1/keys"),
            ("post", "/v1/keys"),
            ("post", "/v1/keys/{name}/rotate"),
            ("delete", "/v1/keys/{name}"),
            ("post", "/v1/personal/erase"),
            ("post", "/v1/personal/rewrap"),
            ("get", "/v1/locks"),
            ("get", "/v1/locks/{name}"),
            ("get", "/v1/mailboxes"),
            ("get", "/v1/mailboxes/{event}/{key}"),
            ("get", "/v1/parked"),
            ("get", "/v1/parked/{group}/{key}"),
            *(("post", f"/v1/parked/{{group}}/{{key}}/{verb}") for verb in ("redrive", "edit", "skip", "discard")),
            ("get", "/v1/delayed"),
            ("get", "/v1/delayed/{id}"),
            *(("post", f"/v1/delayed/{{id}}/{verb}") for verb in ("reschedule", "edit", "cancel")),
            ("get", "/v1/schedules"),
            *((verb, "/v1/schedules/{name}") for verb in ("get", "put", "delete")),
            *(("post", f"/v1/schedules/{{name}}/{verb}") for verb in ("pause", "resume", "trigger", "backfill")),
            ("get", "/v1/dead"),
            ("get", "/v1/dead/groups"),
            ("post", "/v1/dead/bulk"),
            ("get", "/v1/dead/{id}"),
            *(("post", f"/v1/dead/{{id}}/{verb}") for verb in ("redrive", "edit", "discard")),
            ("get", "/v1/webhooks"),
            *((verb, "/v1/webhooks/{name}") for verb in ("get", "put", "delete")),
            *(("post", f"/v1/webhooks/{{name}}/{verb}") for verb in ("rotate", "secret", "replay", "enable")),
            *HOOK_AND_PUSH_ROUTES,
            ("get", "/v1/definitions"),
            ("get", "/asyncapi.json"),
            ("get", "/v1/definitions/{definition}/graph"),
            ("get", "/livez"),
            ("get", "/readyz"),
        }

    def test_every_route_says_its_problems_as_problem_json(self, document: dict[str, Any]) -> None:
        for path, method, operation in self.operations(document):
            problems = {status: each for status, each in operation["responses"].items() if status >= "400"}
            expected = {"403", "500"}
            if path.startswith("/v1"):
                expected |= {"401", "422"}
            if path.startswith("/v1/instances/{") or "/tables/{name}" in path:
                expected |= {"404", "503"}
            if method in ("post", "put") and path not in WITHOUT_BODY:
                expected |= {"400", "408", "413", "415", "503"}
                expected |= {"404"} if "{" in path else set()
                expected |= {"409"} if "{" in path and "/events/" not in path else set()
            assert expected <= problems.keys(), (path, expected - problems.keys())
            for status, each in problems.items():
                (media_type,) = each["content"]
                assert media_type == "application/problem+json", (path, status)
                assert each["content"][media_type]["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert each["content"][media_type]["examples"]

    def test_every_operation_has_a_name_of_its_own_in_one_style(self, document: dict[str, Any]) -> None:
        names = [operation["operationId"] for _, _, operation in self.operations(document)]
        assert len(names) == len(set(names))
        assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []

    def test_every_parameter_has_bounds(self, document: dict[str, Any]) -> None:
        bounds = {"enum", "const", "pattern", "maxLength", "maximum", "$ref"}
        for path, method, operation in self.operations(document):
            for each in operation.get("parameters", ()):
                schema = each["schema"]
                assert "null" not in json.dumps(schema), (path, each["name"])
                if schema.get("type") not in ("array", "boolean"):
                    assert schema.keys() & bounds, (method, path, each["name"], schema)

    def test_every_response_names_the_headers_that_all_have(self, document: dict[str, Any]) -> None:
        for path, method, operation in self.operations(document):
            for status, response in operation["responses"].items():
                named = response["headers"].keys()
                assert {"traceresponse", "Cache-Control"} <= named, (method, path, status)
                assert "Retry-After" in named or status != "503", (method, path)
                assert ("WWW-Authenticate" in named) == (status == "401"), (method, path, status)

    def test_bodies_have_schema_and_example(self, document: dict[str, Any]) -> None:
        for path, method, operation in self.operations(document):
            if method in ("post", "put") and path not in WITHOUT_BODY:
                content = next(iter(operation["requestBody"]["content"].values()))
                assert content["schema"]["$ref"].endswith("Body"), path
                assert content["example"], path

    def test_every_reference_leads_somewhere(self, document: dict[str, Any]) -> None:
        text = json.dumps(document)
        names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
        assert names <= document["components"]["schemas"].keys()
        assert "HTTPValidationError" not in text

    def test_only_health_is_open_where_tokens_are_asked_for(self, document: dict[str, Any]) -> None:
        for path, method, operation in self.operations(document):
            is_open = path in ("/livez", "/readyz", "/v1/login", "/v1/logout") or (path, method) == OPEN_HOOK
            assert operation["security"] == ([] if is_open else [{"token": []}, {"session": []}])
