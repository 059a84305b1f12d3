"""The commands and their options. Each command is implemented in a module that is imported when it is called, so that
``saga list`` does not wait for the import of an engine that it does not need.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from ...sagas.graph import Format
from ..messages.inputs import ActName, OnConflict
from .acts import Acting, act
from .dead_commands import add_dead_commands
from .entity_commands import add_entity_commands
from .errors import Mistake
from .hook_commands import add_hook_commands
from .key_commands import add_key_commands
from .operating import add_operating
from .options import HealthOptions, ListenOptions, LogOptions, Looking, Reading, Remote, build_settings, command
from .outbox import add_outbox
from .parcel_commands import add_parcel_commands
from .personal_commands import add_personal_commands
from .push_commands import add_push_commands
from .queries import add_list, add_operations, history, inspect, overdue, questions, queues, show
from .read_model import add_read_model
from .remote import Json
from .schedule_commands import add_schedule_commands
from .starting import publish, read_input, start
from .topic_commands import add_topic_commands
from .trace import trace
from .watch import add_watch
from .webhook_commands import add_webhook_commands

__all__ = ["app", "main"]

app = typer.Typer(
    name="saga",
    help="Sagaline: sagas on Kafka, or on one SQLite file. "
    "Exit codes: 0 done, 1 denied or failed, 2 wrong command line or setting, 3 not reachable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
add_topic_commands(app)
add_entity_commands(app)
add_parcel_commands(app)
add_schedule_commands(app)
add_key_commands(app)
add_personal_commands(app)
add_webhook_commands(app)
add_hook_commands(app)
add_push_commands(app)
add_dead_commands(app)
add_read_model(app)
add_outbox(app)
add_list(app)
add_operations(app)
add_watch(app)

Sagas = Annotated[list[str], typer.Argument(metavar="MODULE:SAGA", help="Sagas, or lists of sagas.")]
Workers = Annotated[list[str], typer.Argument(metavar="MODULE:WORKER", help="Workers, or lists of workers.")]
Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="definition/key, as `saga list` shows it.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"saga {metadata.version('sagaline')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """See ``help`` of the app."""


def main() -> None:
    """Entry point of ``saga``."""
    app()


@command(app, "run")
def run(
    *,
    sagas: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE:SAGA", help="Sagas, or lists of sagas; none: only events and parcels."),
    ] = None,
    log: LogOptions,
    listen: ListenOptions,
    health: HealthOptions,
    worker: Annotated[
        list[str] | None, typer.Option("--worker", metavar="MODULE:WORKER", help="Run this worker in the same process.")
    ] = None,
    api: Annotated[bool, typer.Option("--api", help="Serve the API in the same process.")] = False,
) -> None:
    """Run the engine for some sagas; with --worker and --api run everything in one process."""
    from ...workers.worker import Worker
    from .loading import load, load_definitions
    from .serving import serve

    definitions = load_definitions(sagas or [])
    workers = load(worker or [], Worker)
    settings = build_settings(log, listen, health)
    serve(settings, "sagaline", engine=definitions, workers=workers, api=definitions if api else None)


@command(app, "worker")
def run_workers(*, workers: Workers, log: LogOptions, health: HealthOptions) -> None:
    """Run one or more workers. Start any number of these processes: they share the commands."""
    from ...workers.worker import Worker
    from .loading import load
    from .serving import serve

    serve(build_settings(log, health), "sagaline-worker", workers=load(workers, Worker))


@command(app, "api")
def run_api(*, sagas: Sagas, log: LogOptions, listen: ListenOptions, health: HealthOptions) -> None:
    """Serve the REST API for some sagas. Bearer tokens: SAGALINE_API_TOKENS='["..."]'."""
    from .loading import load_definitions
    from .serving import serve

    serve(build_settings(log, listen, health), "sagaline-api", api=load_definitions(sagas))


@command(app, "demo")
def demo(
    *,
    log: LogOptions,
    listen: ListenOptions,
    orders: Annotated[
        int | None,
        typer.Option(min=0, max=100_000, help="How many orders; with it the demo ends by itself. Default 20."),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder for its files; kept afterwards.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the files that the demo would remove.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Keep serving after the report, until Ctrl-C.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds after which the demo fails.")] = 60.0,
    all: Annotated[bool, typer.Option("--all", help="Then also other patterns, each checked.")] = False,
) -> None:
    """Run the order checkout in one process with planned failures, and check the result."""
    from .demo.command import DemoOptions, run_demo

    run_demo(log, listen, DemoOptions(orders=orders, data=data, keep=keep, timeout_seconds=timeout, all=all, stay=stay))


@command(app, "verify")
def verify_command(
    *,
    definitions: Annotated[
        list[str], typer.Argument(metavar="MODULE:SAGA", help="Definitions, or lists of definitions.")
    ],
    reading: Reading,
    definition: Annotated[str | None, typer.Option(help="Check only this one; the others only emit events.")] = None,
    looking: Looking,
    input: Annotated[
        str | None, typer.Option("--input", metavar="FILE", help="JSON file with an input, or a list of inputs.")
    ] = None,
    external: Annotated[
        list[str] | None, typer.Option(metavar="EVENT", help="Only these events come from outside; repeatable.")
    ] = None,
    pytest: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write tests of the findings to this file.")
    ] = None,
) -> None:
    """Search for orders of replies, failures and timers that break a definition. Exit code 1: one was found."""
    from ..verify import Bounds
    from .verify import VerifyOptions, run_verify

    options = VerifyOptions(
        definition=definition,
        bounds=Bounds(depth=looking.depth, faults=looking.faults, states=looking.states),
        input=input,
        external=external or (),
        pytest=pytest,
        as_json=reading.as_json,
    )
    run_verify(definitions, options)


@command(app, "deploy-check")
def deploy_check_command(
    *,
    sagas: Sagas,
    log: LogOptions,
    reading: Reading,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Check at most this many open instances; default all.")
    ] = None,
) -> None:
    """Check whether every open instance can continue with this code. Exit code 1: some cannot."""
    from .deploy_check import deploy_check

    deploy_check(build_settings(log), sagas, sample=sample, as_json=reading.as_json)


@command(app, "graph")
def graph_command(
    *,
    definitions: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE:SAGA", help="Definitions, or lists of definitions.")
    ] = None,
    remote: Remote,
    definition: Annotated[str | None, typer.Option(help="Draw only this one.")] = None,
    format: Annotated[Format, typer.Option(help="Output format.")] = Format.MERMAID,
    instance: Annotated[
        str | None,
        typer.Option(metavar="DEFINITION/KEY", help="Draw this instance in its current state, from the API."),
    ] = None,
) -> None:
    """Draw definitions: steps, branches, undos, pivot, queues and timeouts; or a live instance on its definition."""
    from .graph import draw_definitions, draw_instance

    if (instance is None) == (not definitions):
        raise Mistake("give MODULE:SAGA or --instance DEFINITION/KEY, not both")
    if instance is not None:
        draw_instance(remote, instance, format)
    else:
        draw_definitions(definitions or [], definition, format)


@command(app, "contracts")
def contracts_command(*, sagas: Sagas, reading: Reading) -> None:
    """List contracts: queue, JSON Schemas, undo. With --json: everything a worker in another language needs."""
    from .contracts import contracts

    contracts(sagas, as_json=reading.as_json)


@command(app, "asyncapi")
def asyncapi_command(
    *,
    references: Annotated[list[str], typer.Argument(metavar="MODULE:NAME", help="Sagas and workers, or lists.")],
    namespace: Annotated[str, typer.Option(envvar="SAGALINE_NAMESPACE", help="Prefix of every topic.")] = "sagaline",
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write it to this file; default: print it.")] = None,
) -> None:
    """Describe topics, messages and who sends or receives them as an AsyncAPI 3.0 document."""
    from .asyncapi import asyncapi

    asyncapi(references, namespace, out)


@command(app, "start")
def start_command(
    *,
    definition: Annotated[str, typer.Argument(help="Name of the definition.")],
    remote: Remote,
    reading: Reading,
    input: Annotated[
        str, typer.Option("--input", "-i", metavar="JSON|@FILE|-", help="The input: JSON, a file, or - for stdin.")
    ] = "{}",
    key: Annotated[str | None, typer.Option(help="Business key; default: a new one is generated.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version of the definition; default the newest.")] = None,
    conflict: Annotated[
        OnConflict,
        typer.Option(
            help="If the key has an instance: an error, that one, or a new run after it (replace cancels it)."
        ),
    ] = "reject",
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="With queue and replace: repeating the start takes it once.")
    ] = None,
) -> None:
    """Start an instance. The same key with the same input again returns the same instance."""
    body: Json = {"key": key, "version": version, "request_id": request_id}
    body |= {} if conflict == "reject" else {"conflict": conflict}
    start(remote, definition, body, input=input, as_json=reading.as_json)


@command(app, "inspect")
def inspect_command(*, instance: Instance, remote: Remote, reading: Reading) -> None:
    """Show why an instance needs attention, which acts are possible, and what a cancel would undo now."""
    inspect(remote, instance, as_json=reading.as_json)


@command(app, "mcp")
def mcp_command(
    *,
    remote: Remote,
    allow_acts: Annotated[bool, typer.Option("--allow-acts", help="Also start, operate and publish.")] = False,
) -> None:
    """Serve the API to an assistant by the Model Context Protocol, on stdin and stdout; it may look, and no more."""
    from .processes import run_process

    try:
        from .mcp_server import serve as serve_mcp
    except ModuleNotFoundError as error:
        if error.name != "mcp":
            raise
        raise Mistake("the Model Context Protocol needs its SDK: pip install 'sagaline[mcp]'") from error
    run_process(serve_mcp(remote, allow_acts=allow_acts))


@command(app, "overdue")
def overdue_command(
    *,
    remote: Remote,
    reading: Reading,
    definition: Annotated[str | None, typer.Option(help="Only of this definition.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 200,
) -> None:
    """List steps that take longer than expected, longest overdue first."""
    overdue(remote, definition, limit=limit, as_json=reading.as_json)


@command(app, "queues")
def queues_command(*, remote: Remote, reading: Reading) -> None:
    """List queues with their lanes: what waits, who reads it, and why it waits."""
    queues(remote, as_json=reading.as_json)


@command(app, "questions")
def questions_command(
    *,
    remote: Remote,
    reading: Reading,
    who: Annotated[str | None, typer.Option(help="Only questions that this person or role may answer.")] = None,
    definition: Annotated[str | None, typer.Option(help="Only of this definition.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 200,
) -> None:
    """List questions that wait for a person, due soonest first: answer, claim or assign them."""
    filters = {"who": who, "definition": definition}
    questions(remote, filters, limit=limit, as_json=reading.as_json)


@command(app, "show")
def show_command(
    *,
    instance: Instance,
    remote: Remote,
    reading: Reading,
    state: Annotated[bool, typer.Option("--state", help="Print the state too.")] = False,
) -> None:
    """Show one instance: status, steps, timers, errors, trace id."""
    show(remote, instance, state=state, as_json=reading.as_json)


@command(app, "publish")
def publish_command(
    *,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The name of the event.")],
    key: Annotated[str, typer.Option(help="The key that waiting instances expect.")],
    remote: Remote,
    reading: Reading,
    body: Annotated[str, typer.Option(metavar="JSON", help="JSON, @FILE, or - for standard input.")] = "{}",
    id: Annotated[str | None, typer.Option("--id", help="Its own id: repeated with it, it happens once.")] = None,
) -> None:
    """Publish an event to the instances that wait for it, and to the process managers that listen to it."""
    publish(remote, event, key=key, body=body, id=id, as_json=reading.as_json)


@command(app, "dev")
def dev_command(
    *,
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE", help="Modules with sagas, workers and schedules, or MODULE:NAME of one."),
    ],
    log: LogOptions,
    listen: ListenOptions,
    reload: Annotated[bool, typer.Option("--reload/--no-reload", help="Start again when a file changes.")] = True,
) -> None:
    """Run engine, workers and API in one process, and start again when a Python file below this folder changes."""
    from .dev import run_once, run_reloading

    if reload:
        run_reloading(Path.cwd())
    else:
        run_once(modules, build_settings(log, listen))


@command(app, "history")
def history_command(
    *,
    instance: Instance,
    remote: Remote,
    reading: Reading,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="The largest number of entries, oldest first.")
    ] = 1_000,
) -> None:
    """Show every decision about one instance."""
    history(remote, instance, limit=limit, as_json=reading.as_json)


@command(app, "trace")
def trace_command(*, instance: Instance, remote: Remote, reading: Reading) -> None:
    """Draw one run over time: how long each step worked and waited."""
    trace(remote, instance, as_json=reading.as_json)


def _add_act(name: ActName, text: str) -> None:
    def act_command(
        *,
        instance: Instance,
        remote: Remote,
        reading: Reading,
        acting: Acting,
    ) -> None:
        act(remote, instance, name, acting, as_json=reading.as_json)

    act_command.__doc__ = text
    command(app, name.value)(act_command)


_add_act(ActName.CANCEL, "Undo what an instance has done and end it; denied past its pivot.")
_add_act(ActName.PAUSE, "Send no more commands for an instance until it is resumed.")
_add_act(ActName.RESUME, "Continue a paused instance.")
_add_act(ActName.RETRY, "Retry what put an instance into attention.")
_add_act(
    ActName.ABANDON, "Close an instance in attention without undoing it; its history lists the outstanding effects."
)


def _add_step_act(name: ActName, text: str) -> None:
    """An act on one step."""

    def act_command(
        *,
        instance: Instance,
        step: Annotated[str, typer.Argument(metavar="STEP", help="Name of the step, as `saga show` shows it.")],
        remote: Remote,
        reading: Reading,
        value: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="The act's value.")] = None,
        acting: Acting,
    ) -> None:
        more = {"step": step, "value": read_input(value, "--value") if value is not None else None}
        act(remote, instance, name, acting, as_json=reading.as_json, more=more)

    act_command.__doc__ = text
    command(app, name.value)(act_command)


@command(app, "revise")
def revise_command(
    *,
    instance: Instance,
    ahead: Annotated[
        list[str] | None, typer.Argument(metavar="STOP", help="The remaining stops, in order; none: the slip is done.")
    ] = None,
    remote: Remote,
    reading: Reading,
    acting: Acting,
) -> None:
    """Replace the remaining stops of a routing slip, those that it has not been sent to."""
    more = {"value": {"ahead": ahead or []}}
    act(remote, instance, ActName.REVISE, acting, as_json=reading.as_json, more=more)


_add_step_act(ActName.ANSWER, "Answer a question that an instance asks; --value is the filled form.")
_add_step_act(ActName.CLAIM, "Claim a question: from then on nobody else may answer it.")
_add_step_act(ActName.ASSIGN, """Assign a question to a person: --value '{"to": "ann"}'.""")
_add_step_act(ActName.SKIP, "Treat a step as done, with the reply in --value.")
_add_step_act(ActName.WAIVE, "Accept the loss of a failing undo; --reason is the evidence.")


add_operating(app)
