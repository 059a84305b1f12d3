"""``saga mcp``: the API for assistants that speak the Model Context Protocol, by its official SDK, over stdio.

Every tool is a request to the REST API with the given key, so the key's role holds for the assistant too. Without
``--allow-acts`` no tool changes anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import wraps
from importlib import metadata
from typing import Annotated, Any, Literal, ParamSpec

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field, JsonValue

from ...api.paths import instance_path
from ...api.rest_client import RestClient
from ...api.searching import InstanceWhere
from ...sagas.errors import SagalineError
from ..messages.inputs import ActName
from .options import Remote

__all__ = ["build_server", "serve"]

P = ParamSpec("P")
Answer = dict[str, Any]

Instance = Annotated[str, Field(description="`definition/key`, as the list shows it")]
Cursor = Annotated[str | None, Field(description="the `cursor` of the page before; none: the first page")]
View = Literal["definitions", "questions", "overdue", "queues", "dead-letters", "schedules", "tables", "operations"]
_ABOUT = (
    "Sagaline runs sagas: business flows of several steps that are undone in order when one fails. An instance is "
    "`definition/key`. Begin with find_instances or with list_view; explain_instance says why one does not go on."
)
_DEADLINE = timedelta(seconds=5)
_READS = ToolAnnotations(read_only_hint=True)
_ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False)
_PATHS: dict[View, str] = {"dead-letters": "dead"}


def build_server(client: RestClient, *, allow_acts: bool = False) -> MCPServer:
    """The server over an open client. ``allow_acts``: with the tools that change something."""
    server = MCPServer("sagaline", instructions=_ABOUT, version=metadata.version("sagaline"))
    _add_reads(server, client)
    if allow_acts:
        _add_acts(server, client)
    return server


async def serve(remote: Remote, *, allow_acts: bool) -> None:
    """Serves over stdin and stdout until stdin ends.

    Raises:
        ConfigurationError: the address or the token cannot be sent.
    """
    async with RestClient(remote.url, token=remote.token, deadline=_DEADLINE) as client:
        await build_server(client, allow_acts=allow_acts).run_stdio_async()


def _told(tool: Callable[P, Awaitable[BaseModel | Answer]]) -> Callable[P, Awaitable[Answer]]:
    """Its answer as JSON; an error of the API as a sentence for the assistant."""

    @wraps(tool)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Answer:
        try:
            answer = await tool(*args, **kwargs)
        except SagalineError as error:
            raise ToolError(str(error)) from error
        return answer.model_dump(mode="json", by_alias=True) if isinstance(answer, BaseModel) else answer

    call.__annotations__["return"] = Answer
    return call


def _add_reads(server: MCPServer, client: RestClient) -> None:
    @server.tool(annotations=_READS)
    @_told
    async def find_instances(
        where: InstanceWhere | None = None,
        sort: Annotated[str, Field(description="such as -created_at, updated_at, status")] = "-created_at",
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
        cursor: Cursor = None,
    ) -> BaseModel:
        """Lists instances of flows that match all conditions."""
        return await client.list(where, sort=sort, limit=limit, cursor=cursor)

    @server.tool(annotations=_READS)
    @_told
    async def count_instances(where: InstanceWhere | None = None) -> BaseModel:
        """Counts instances that match all conditions, exactly up to 10,000."""
        return await client.count(where)

    @server.tool(annotations=_READS)
    @_told
    async def show_instance(instance: Instance) -> BaseModel:
        """Shows an instance in full: status, state, steps, timers, why it is compensated or needs attention."""
        return await client.get(instance)

    @server.tool(annotations=_READS)
    @_told
    async def explain_instance(instance: Instance) -> BaseModel:
        """Explains what an instance waits for, what took effect, what cannot be undone, and which acts are possible."""
        return await client.inspect(instance)

    @server.tool(annotations=_READS)
    @_told
    async def history_of_instance(
        instance: Instance,
        after: Annotated[int, Field(description="the `next` of the page before")] = -1,
        limit: Annotated[int, Field(ge=1, le=100)] = 50,
    ) -> Answer:
        """Lists the decisions about an instance, oldest first: what came in, what changed, what was sent, and why."""
        return await client.read(f"{instance_path(instance)}/history", after=after, limit=limit)

    @server.tool(annotations=_READS)
    @_told
    async def list_view(
        what: View,
        cursor: Cursor = None,
        limit: Annotated[int | None, Field(ge=1, le=100)] = None,
    ) -> Answer:
        """Lists definitions, open questions, overdue instances, queues (who waits and why), dead letters, schedules,
        tables or operations (who did what, and why).
        """
        return await client.read(f"/v1/{_PATHS.get(what, what)}", cursor=cursor, limit=limit)


def _add_acts(server: MCPServer, client: RestClient) -> None:
    @server.tool(annotations=_ACTS)
    @_told
    async def start_instance(
        definition: str,
        input: Annotated[dict[str, JsonValue], Field(description="by the schema that list_view definitions shows")],
        key: Annotated[str, Field(description="business key; the same key and input again is the same instance")],
    ) -> BaseModel:
        """Starts an instance of a flow."""
        return await client.start(definition, input, key=key)

    @server.tool(annotations=_ACTS)
    @_told
    async def act_on_instance(
        instance: Instance,
        act: ActName,
        *,
        reason: Annotated[str, Field(min_length=3, description="why, for the history")],
        id: Annotated[str, Field(description="the act's own id: with the same id it is carried out once")],
        step: Annotated[str, Field(description="for an act on one step: its name")] = "",
        value: Annotated[
            dict[str, JsonValue] | None, Field(description="what the act takes, by the API's page")
        ] = None,
        dry_run: Annotated[bool, Field(description="true: only say what it would do; false: do it")] = True,
    ) -> BaseModel:
        """Operates an instance. Call it with dry_run first, and show what would be undone to the person who decides."""
        if dry_run:
            return await client.rehearse(instance, act, reason=reason, step=step, value=value)
        return await client.act(instance, act, reason=reason, step=step, value=value, request_id=id)

    @server.tool(annotations=_ACTS)
    @_told
    async def publish_event(
        event: str,
        body: dict[str, JsonValue],
        key: Annotated[str, Field(description="the key that waiting instances match")],
        id: Annotated[str, Field(description="the event's own id: with the same id it happens once")],
    ) -> BaseModel:
        """Publishes an event to the instances that wait for it."""
        return await client.publish(event, body, key=key, id=id)
