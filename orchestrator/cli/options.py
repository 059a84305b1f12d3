"""Groups of options that several commands share, each a frozen value; and how commands use them.

A command's parameter with such a type appears on the command line as the group's options. Options of processes are
``Settings``: from the command line, then ``SAGALINE_*`` environment variables, then the defaults.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from ...sagas.schedule import KEY
from ..errors import ConfigurationError
from ..messages.document import Status
from ..messages.entities import DeadStatus
from ..settings import Settings
from .errors import Mistake, sentences
from .spans import SPAN

__all__ = [
    "By",
    "DeadWhere",
    "HookMapping",
    "Edited",
    "HealthOptions",
    "ListenOptions",
    "LogOptions",
    "Looking",
    "Planned",
    "Reading",
    "Remote",
    "Signed",
    "build_settings",
    "command",
    "rendering",
]

_OURS = "Log"
_LISTEN = "Listening"
_HEALTH = "Health"
_API = "API"
_WHICH = "Which instances"
_LETTERS = "Which dead letters"
_TIME_OPTION = Annotated[
    str | None, typer.Option(rich_help_panel=_WHICH, metavar="TIME", help="ISO 8601 with a time zone.")
]


By = Annotated[
    str | None, typer.Option(help="Your name; default: that of the token, else your user name on this machine.")
]


@dataclass(frozen=True, slots=True)
class Debug:
    """The options of every command."""

    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which log, and how this process uses it. None: not given on the command line."""

    log: Annotated[
        str | None,
        typer.Option(
            "--log",
            metavar="URL",
            envvar="SAGALINE_LOG",
            rich_help_panel=_OURS,
            help="sqlite:///path or kafka://host:port[,host:port]; default sqlite:///sagaline.db.",
        ),
    ] = None
    namespace: Annotated[
        str | None,
        typer.Option(
            envvar="SAGALINE_NAMESPACE", rich_help_panel=_OURS, help="Prefix of every topic; default sagaline."
        ),
    ] = None
    partitions: Annotated[
        int | None,
        typer.Option(envvar="SAGALINE_PARTITIONS", rich_help_panel=_OURS, help="Partitions per topic; default 4."),
    ] = None
    development: Annotated[
        bool | None,
        typer.Option(
            "--development",
            envvar="SAGALINE_DEVELOPMENT",
            rich_help_panel=_OURS,
            help="Allow one replica, create topics at start, log for people.",
        ),
    ] = None
    replication_factor: Annotated[
        int | None,
        typer.Option(
            envvar="SAGALINE_REPLICATION_FACTOR",
            rich_help_panel=_OURS,
            help="Replicas of topics created on Kafka; default 3.",
        ),
    ] = None
    read_model: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="SAGALINE_READ_MODEL",
            rich_help_panel=_OURS,
            help="What queries are answered from: sqlite:///path or postgresql://user@host/database; "
            "default: the log's file, or one beside us.",
        ),
    ] = None
    member_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            envvar="SAGALINE_MEMBER_TIMEOUT",
            rich_help_panel=_OURS,
            help="A process silent for this long loses its partitions; default 6.",
        ),
    ] = None
    log_format: Annotated[
        str | None,
        typer.Option(metavar="console|json", envvar="SAGALINE_LOG_FORMAT", help="Format of this process's log."),
    ] = None
    log_level: Annotated[
        str | None,
        typer.Option(
            metavar="debug|info|warning|error",
            envvar="SAGALINE_LOG_LEVEL",
            help="Level of this process's log; default info.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where the API listens. Tokens come from the environment only: a command line is visible to other users."""

    host: Annotated[
        str | None,
        typer.Option(envvar="SAGALINE_HOST", rich_help_panel=_LISTEN, help="Default 127.0.0.1."),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(envvar="SAGALINE_PORT", rich_help_panel=_LISTEN, help="Default 8080; 0: any free port."),
    ] = None
    tls_cert: Annotated[
        Path | None,
        typer.Option(envvar="SAGALINE_TLS_CERT", rich_help_panel=_LISTEN, help="Serve TLS: the certificate, PEM."),
    ] = None
    tls_key: Annotated[
        Path | None,
        typer.Option(envvar="SAGALINE_TLS_KEY", rich_help_panel=_LISTEN, help="The private key of --tls-cert, PEM."),
    ] = None


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """Where a process says whether it is alive and ready, with or without an API."""

    health_host: Annotated[
        str | None,
        typer.Option(envvar="SAGALINE_HEALTH_HOST", rich_help_panel=_HEALTH, help="Default 127.0.0.1."),
    ] = None
    health_port: Annotated[
        int | None,
        typer.Option(
            envvar="SAGALINE_HEALTH_PORT",
            rich_help_panel=_HEALTH,
            help="Serve /livez, /readyz and /metrics there; 0: any free port. Default: not at all.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The options of commands with output for scripts."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")] = False


@dataclass(frozen=True, slots=True)
class Remote:
    """Which API to call, and with which token."""

    url: Annotated[str, typer.Option(envvar="SAGALINE_URL", rich_help_panel=_API, help="Its address.")] = (
        "http://127.0.0.1:8080"
    )
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SAGALINE_API_TOKEN",
            rich_help_panel=_API,
            help="Bearer token; preferably set in the environment.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Looking:
    """The limits of `saga verify`."""

    depth: Annotated[int, typer.Option(min=1, help="Longest sequence of inputs.")] = 60
    faults: Annotated[int, typer.Option(min=0, help="Most faults in one sequence.")] = 2
    states: Annotated[int, typer.Option(min=1, help="Most states to visit.")] = 200_000


@dataclass(frozen=True, slots=True)
class Which:
    """A filter of instances; each field is called as in the API."""

    definition: Annotated[str | None, typer.Option(rich_help_panel=_WHICH, help="Only of this definition.")] = None
    version: Annotated[int | None, typer.Option(rich_help_panel=_WHICH, help="Only of this version.")] = None
    status: Annotated[
        list[Status] | None, typer.Option(rich_help_panel=_WHICH, help="Only with this status; may be repeated.")
    ] = None
    key: Annotated[str | None, typer.Option(rich_help_panel=_WHICH, help="Only with this business key.")] = None
    key_prefix: Annotated[
        str | None, typer.Option(rich_help_panel=_WHICH, metavar="TEXT", help="Only with a key that begins so.")
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_WHICH,
            metavar="CONDITION",
            help="Only if a searchable field fits, such as 'customer=ann' or 'total_cents>=1000'; may be repeated.",
        ),
    ] = None
    code: Annotated[
        str | None,
        typer.Option(rich_help_panel=_WHICH, help="Only compensated, or in attention, for this code."),
    ] = None
    overdue: Annotated[
        bool | None, typer.Option(rich_help_panel=_WHICH, help="Only with a step that takes longer than expected.")
    ] = None
    paused: Annotated[bool | None, typer.Option(rich_help_panel=_WHICH, help="Only paused ones.")] = None
    started_since: _TIME_OPTION = None
    started_until: _TIME_OPTION = None
    updated_since: _TIME_OPTION = None
    updated_until: _TIME_OPTION = None

    def given(self) -> dict[str, Any]:
        """The conditions that are given, as the API takes them."""
        found = {each.name: getattr(self, each.name) for each in fields(Which)}
        return {name: value for name, value in found.items() if value not in (None, [])}


@dataclass(frozen=True, slots=True)
class Listing:
    """How `saga list` shows what it has found."""

    sort: Annotated[str, typer.Option(help="A column; with - the greatest first, as in --sort=-key.")] = "-created_at"
    count: Annotated[bool, typer.Option("--count", help="Only print how many there are.")] = False
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 50


@dataclass(frozen=True, slots=True)
class Operations:
    """Which operations; each field is called as in the API."""

    who: Annotated[str | None, typer.Option(help="Only of this person.")] = None
    target: Annotated[str | None, typer.Option(metavar="ID", help="Only on this instance, or other entity.")] = None
    act: Annotated[str | None, typer.Option(help="Only this act.")] = None
    since: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601 with a time zone.")] = None
    until: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601 with a time zone.")] = None
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of entries.")] = 50

    def given(self) -> dict[str, Any]:
        """The conditions that are given, as the API takes them."""
        return {each.name: getattr(self, each.name) for each in fields(Operations) if each.name != "limit"}


@dataclass(frozen=True, slots=True)
class Many(Which):
    """The instances for `saga bulk`; without a status those that have not ended."""

    older_than: Annotated[
        str | None,
        typer.Option(rich_help_panel=_WHICH, metavar=SPAN, help="Only instances unchanged for this long."),
    ] = None
    step: Annotated[
        str, typer.Option(rich_help_panel=_WHICH, help="Only where this step is under way, stuck or needs attention.")
    ] = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """The value of an act, and who sends it."""

    on: Annotated[str, typer.Option(help="The step that the act is about; default the step of --step.")] = ""
    value: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="The act's value.")] = None
    reason: Annotated[str, typer.Option(help="The reason; kept in the history.")] = ""
    by: By = None


@dataclass(frozen=True, slots=True)
class Signed:
    """Who acts on a parcel, a dead letter or a schedule, and why."""

    reason: Annotated[str, typer.Option(help="The reason; kept in the history, and with dead letters.")] = ""
    by: By = None


@dataclass(frozen=True, slots=True)
class HookMapping:
    """How deliveries to a hook are verified, and where an event finds what it needs."""

    scheme: Annotated[
        str, typer.Option("--scheme", help="standard (Standard Webhooks), hmac (GitHub), timed-hmac (Stripe).")
    ] = "standard"
    type_at: Annotated[
        str, typer.Option("--type-at", metavar="POINTER|HEADER", help="Where the type of a delivery is.")
    ] = ""
    id_at: Annotated[
        str, typer.Option("--id-at", metavar="POINTER", help="Where the body has the id of the delivery.")
    ] = ""
    body_at: Annotated[str, typer.Option("--body-at", metavar="POINTER", help="The part that is the event's body.")] = (
        ""
    )
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME=POINTER", help="Instead: a field of the event; repeat.")
    ] = None
    header: Annotated[str, typer.Option("--header", help="The header of the signature, if it has another name.")] = ""


@dataclass(frozen=True, slots=True)
class DeadWhere:
    """Which dead letters."""

    topic: Annotated[str | None, typer.Option(rich_help_panel=_LETTERS, help="Only of this original topic.")] = None
    key: Annotated[str | None, typer.Option(rich_help_panel=_LETTERS, help="Only of this original key.")] = None
    fingerprint: Annotated[
        str | None, typer.Option(rich_help_panel=_LETTERS, help="Only of this failure, as `list --groups` shows it.")
    ] = None
    match: Annotated[
        str | None, typer.Option(rich_help_panel=_LETTERS, metavar="TEXT", help="Only if the reason has this text.")
    ] = None
    since: Annotated[
        str | None, typer.Option(rich_help_panel=_LETTERS, metavar="TIME", help="Dead since then: ISO 8601 with zone.")
    ] = None
    until: Annotated[
        str | None, typer.Option(rich_help_panel=_LETTERS, metavar="TIME", help="Dead before then: ISO 8601 with zone.")
    ] = None
    state: Annotated[
        DeadStatus | None, typer.Option(rich_help_panel=_LETTERS, help="What was done with it; default: open ones.")
    ] = None


@dataclass(frozen=True, slots=True)
class Edited:
    """The new content of a letter."""

    value: Annotated[str | None, typer.Option(metavar="TEXT|@FILE", help="The new value; default: unchanged.")] = None
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="The new headers; default: unchanged.")
    ] = None
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Remove all headers.")] = False


@dataclass(frozen=True, slots=True)
class Planned:
    """What `saga schedules put` starts, and when."""

    definition: Annotated[str | None, typer.Option(help="The definition to start.")] = None
    event: Annotated[str | None, typer.Option(help="The event to publish; it starts process managers.")] = None
    input: Annotated[
        str, typer.Option(metavar="JSON|@FILE|-", help="First value of the state, or the event's body.")
    ] = "{}"
    cron: Annotated[str | None, typer.Option(metavar="'M H DAY MONTH WEEKDAY'", help="Such as '30 2 * * MON-FRI'.")] = (
        None
    )
    every: Annotated[str | None, typer.Option(metavar=SPAN, help="An interval, counted from 1970 in UTC.")] = None
    zone: Annotated[str, typer.Option(help="The time zone of --cron.")] = "UTC"
    key: Annotated[str, typer.Option(help="Key of the instance; without {due} one instance at a time.")] = KEY
    due_into: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field of the input that is set to the due time.")
    ] = None
    catch_up: Annotated[str, typer.Option(metavar="skip|once|all", help="What is started of late due times.")] = "once"
    grace: Annotated[str, typer.Option(metavar=SPAN, help="A due time is late after this.")] = "60s"
    jitter: Annotated[str, typer.Option(metavar=SPAN, help="Each start is delayed by up to this.")] = "0s"


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a command: its groups (dataclasses) become options, ``--debug`` is added, errors become sentences."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
        own = inspect.signature(function).parameters

        @functools.wraps(function)
        def call(**given: Any) -> None:
            with sentences(debug=given.pop("debug")):
                values = {
                    parameter: group(**{field.name: given.pop(field.name) for field in fields(group)})
                    for parameter, group in groups.items()
                }
                function(**values, **given)

        plain = [p.replace(annotation=hints[n], kind=p.KEYWORD_ONLY) for n, p in own.items() if n not in groups]
        spread = [option for group in (*groups.values(), Debug) for option in _options(group)]
        parameters = plain + spread
        setattr(call, "__signature__", inspect.Signature(parameters))  # noqa: B010 - mypy does not know the attribute
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del call.__wrapped__
        app.command(name)(call)
        return function

    return register


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]


def build_settings(*groups: LogOptions | ListenOptions | HealthOptions, **more: object) -> Settings:
    """Settings from the given options; ``more`` are defaults of the command, which given options override.

    Raises:
        Mistake: a setting is wrong; the message names the option and the variable.
    """
    given: dict[str, Any] = {
        field.name: getattr(group, field.name)
        for group in groups
        for field in fields(group)
        if getattr(group, field.name) is not None
    }
    try:
        settings = Settings(**{**more, **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        option = "" if name == "api_tokens" else f"--{name.replace('_', '-')} or "
        shown = "" if name == "api_tokens" else f" {first['input']!r}"
        problem = str(first["msg"]).removeprefix("Value error, ")
        raise Mistake(
            f"the setting {name}{shown} is wrong: {problem}; correct {option}SAGALINE_{name.upper()}"
        ) from None
    except SettingsError as error:
        raise Mistake(f"a setting in the environment cannot be read: {error}; give it as JSON") from None
    _check_read_model(settings)
    return settings


def _check_read_model(settings: Settings) -> None:
    """Checks the address before anything runs, also in a process that does not use it."""
    if settings.read_model is None:
        return
    from ..wiring import check_read_model

    try:
        check_read_model(settings)
    except ConfigurationError as error:
        raise Mistake(f"the setting read_model is wrong: {error}; see --read-model or SAGALINE_READ_MODEL") from None


def rendering(settings: Settings, *, terminal: bool) -> Literal["console", "json"]:
    """The log format of a process: as set; by default for people in development and on a terminal."""
    if "log_format" in settings.model_fields_set:
        return settings.log_format
    return "console" if settings.development or terminal else "json"
