"""From settings to running parts. The only importer of adapters: everything else takes ports.

Each part is an async context manager; leaving it stops the part within a few seconds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic import SecretStr
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import ArgumentError

from .adapters.clock import SystemClock
from .adapters.kafka_log import KafkaLog, KafkaTopics
from .adapters.read_model import SqlReadModel, check_address, is_there, shown
from .adapters.sqlite_log import SqliteLog
from .client import Client, ClientParts, Feed
from .egress import EgressSettings, Guards
from .errors import ConfigurationError, TopicMismatch, UnreadableBatch
from .kernel import Limits, Registry
from .ports.clock import Clock
from .ports.log import TopicPartition
from .ports.stepping import Note, Reader, step_over_alone
from .ports.topics import WEBHOOK_DELIVERIES, WEBHOOK_FAN_OUT, Topics
from .runtime.census import Census
from .runtime.deciding import Deciding
from .runtime.engine import Engine
from .runtime.exposition import exposition
from .runtime.metrics import Metrics
from .runtime.namespace import identity_of, prepare
from .runtime.projector import Projector
from .runtime.watch import Watch
from .settings import Settings
from .tracing import Tracing
from .vault import KeyRing, SealedLog, Vault

if TYPE_CHECKING:
    from .push import PushKey

__all__ = [
    "Base",
    "check_read_model",
    "clear_read_model",
    "client",
    "configure_metrics",
    "configure_tracing",
    "engine",
    "engine_at",
    "export_the_rest",
    "guards",
    "now_ms",
    "open_base",
    "open_service",
    "prepare_subscriptions",
    "prepare_topics",
    "prepare_webhooks",
    "push_key",
    "running",
    "step_over",
    "tune_interpreter",
    "watching",
    "hook_secrets",
    "webhook_keys",
]

_STOP_SECONDS = 15.0
_EXPORT_SECONDS = 2.0
_RECENT = 1_000
_PATH_CHARS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every part needs: the open log, names, time, traces and metrics."""

    settings: Settings
    log: SealedLog
    topics: Topics
    clock: Clock
    tracing: Tracing
    metrics: Metrics
    vault: Vault


@asynccontextmanager
async def open_base(
    settings: Settings, tracing: Tracing | None = None, metrics: Metrics | None = None
) -> AsyncIterator[Base]:
    """Opens the log that the settings name.

    Raises:
        ConfigurationError: the file or the address cannot be used; the message says what to do.
        LogUnavailable: the log does not answer.
    """
    clock = SystemClock()
    payload_keys = _ring(settings.payload_keys, "SAGALINE_PAYLOAD_KEYS")
    personal_keys = _ring(settings.personal_keys, "SAGALINE_PERSONAL_KEYS")
    inner: SqliteLog | KafkaLog
    if settings.kafka is not None:
        inner = KafkaLog(
            settings.kafka,
            clock=clock,
            development=settings.development,
            replication_factor=1 if settings.development else settings.replication_factor,
            member_timeout=settings.member_timeout,
        )
    else:
        inner = SqliteLog(settings.sqlite_path or "", clock=clock, member_timeout=settings.member_timeout)
    topics = Topics(settings.namespace)
    log = SealedLog(inner, payload_keys, settings.namespace)
    vault = Vault(log, topics.personal, personal_keys)
    await inner.open()
    try:
        yield Base(
            settings=settings,
            log=log,
            topics=topics,
            vault=vault,
            clock=clock,
            tracing=tracing or Tracing(),
            metrics=metrics or Metrics(),
        )
    finally:
        await vault.close()
        await log.close()


@asynccontextmanager
async def open_service(settings: Settings, service: str) -> AsyncIterator[tuple[Base, Callable[[], str]]]:
    """``open_base`` for a process without engine and API: with traces and metrics under this name, and topics checked.
    Also yields the page of the metrics, for a health port.

    Raises:
        TopicMismatch: as ``prepare_topics``.
    """
    tracing, provider = configure_tracing(settings, service)
    metrics, meters, page = configure_metrics(service, page=settings.health_port is not None)
    try:
        async with open_base(settings, tracing, metrics) as base:
            await prepare_topics(base, ())
            yield base, page
    finally:
        await export_the_rest(provider, meters)


async def prepare_topics(base: Base, queues: Iterable[str]) -> None:
    """Creates the topics of the namespace in development and on SQLite; else only checks them. Call it first.

    Raises:
        TopicMismatch: a topic is missing or differs, also in its number of partitions; the message names the remedy.
    """
    create = base.settings.development or base.settings.kafka is None
    await prepare(base.log, base.topics, queues, base.settings.partitions, create=create)


async def prepare_subscriptions(
    base: Base, groups: Iterable[tuple[str, str | None]], *, create: bool | None = None
) -> tuple[Sequence[str], Sequence[str]]:
    """Checks the topics of groups of subscribers, and creates them if asked. Returns their names, and of those created
    here.

    Args:
        base: after ``prepare_topics``.
        groups: each with the foreign topic that it reads; None: the namespace's events.
        create: create what is missing; None: in development and on SQLite.

    Raises:
        TopicMismatch: a topic is missing or differs; the message names the remedy.
    """
    specs = []
    for group, topic in groups:
        if not (partitions := await base.log.partitions(topic or base.topics.events)):
            raise TopicMismatch(
                f"group {group!r} reads topic {topic!r}, which does not exist: create it, or correct its name"
            )
        specs += base.topics.subscribed(group, topic, partitions)
    wanted = base.settings.development or base.settings.kafka is None if create is None else create
    created = await base.log.create_topics(specs) if wanted else ()
    await base.log.check_topics(specs)
    return [spec.name for spec in specs], created


async def prepare_webhooks(base: Base, *, create: bool | None = None) -> tuple[Sequence[str], Sequence[str]]:
    """Checks the topics of webhooks, and creates them if asked. Returns their names, and of those created here.

    Args:
        base: after ``prepare_topics``.
        create: create what is missing; None: in development and on SQLite.

    Raises:
        TopicMismatch: one is missing or differs; the message names the remedy.
    """
    specs = [base.topics.for_webhooks(base.settings.partitions)]
    wanted = base.settings.development or base.settings.kafka is None if create is None else create
    created = await base.log.create_topics(specs) if wanted else ()
    await base.log.check_topics(specs)
    groups = [(WEBHOOK_FAN_OUT, base.topics.history), (WEBHOOK_DELIVERIES, base.topics.webhooks)]
    names, more = await prepare_subscriptions(base, groups, create=create)
    return [*(spec.name for spec in specs), *names], [*created, *more]


def guards(settings: Settings) -> Guards:
    """What webhooks and push messages may reach. What is allowed to the first does not open anything to the second."""
    plain, inner = settings.webhook_plain_http, settings.push_networks
    push = EgressSettings(allowed=inner, plain=plain and bool(inner))
    return Guards(EgressSettings(allowed=settings.webhook_networks, plain=plain), push)


def hook_secrets(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """By the name of a hook, the secrets that its sender has chosen."""
    return {name: tuple(each.get_secret_value() for each in found) for name, found in settings.hook_secrets.items()}


def push_key(settings: Settings) -> PushKey | None:
    """What signs and seals push messages; None: there are none.

    Raises:
        ConfigurationError: key, contact or library is missing or wrong; the message names the setting.
    """
    if settings.push_key is None:
        return None
    try:
        from .push import PushKey
    except ImportError as error:
        raise ConfigurationError("push messages need a library: pip install 'sagaline[push]'") from error
    given = settings.push_key.get_secret_value()
    try:
        text = Path(given).read_text() if len(given) < _PATH_CHARS_MAX and Path(given).is_file() else given
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("the file of SAGALINE_PUSH_KEY cannot be read; check its permissions") from error
    return PushKey(text, settings.push_contact)


def webhook_keys(settings: Settings) -> tuple[bytes, ...]:
    """What the secrets of webhooks are derived from; empty: there are no webhooks."""
    return tuple(key.get_secret_value().encode() for key in settings.webhook_keys)


def engine(base: Base, registry: Registry, limits: Limits | None = None) -> Engine:
    """An engine that decides for the definitions of ``registry``; run it with ``running``."""
    setup = Deciding(
        registry=registry,
        topics=base.topics,
        partitions=base.settings.partitions,
        limits=limits or Limits(),
        tracing=base.tracing,
        metrics=base.metrics,
        max_value_bytes=base.log.max_value_bytes,
    )
    return Engine(base.log, setup, base.clock, group=_engines(base))


def check_read_model(settings: Settings) -> None:
    """Returns if the settings name a usable read model, as far as that shows without opening it.

    Raises:
        ConfigurationError: it cannot; the message says what to do, and shows no password.
    """
    if settings.read_model is not None:
        check_address(settings.read_model)


def engine_at(url: str) -> SqlEngine:
    """An engine for an application's own database, with a test of each connection before its use.

    Raises:
        ConfigurationError: the address cannot be used; the message says what to do, and shows no password.
    """
    form = "write sqlite:///path/to/file.db or postgresql://user:password@host:port/database"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither the address nor the parser's message: both may contain a password.
        raise ConfigurationError(f"the database's address is not understood; {form}") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise ConfigurationError(f"an outbox cannot be read from {parsed.drivername!r}; {form}")
    try:
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ConfigurationError("PostgreSQL needs a driver: pip install 'sagaline[postgresql]'") from error


async def clear_read_model(settings: Settings) -> None:
    """Clears the read model of the settings' namespace; the next client fills it again from the log.

    Raises:
        ConfigurationError: there is none, or it cannot be opened.
        TransientError: it was not completed; call it again.
    """
    check_address(settings.read_model_url)
    if not is_there(settings.read_model_url):
        raise ConfigurationError(f"there is no read model at {shown(settings.read_model_url)}; nothing to clear")
    read_model = await SqlReadModel.open(settings.read_model_url, namespace=settings.namespace)
    try:
        await read_model.clear()
    finally:
        await read_model.close()


@asynccontextmanager
async def client(
    base: Base, registry: Registry, engine: Engine | None = None, *, serves: bool = False
) -> AsyncIterator[Client]:
    """A client with its feed, its read model and the projector that updates the read model.

    Args:
        base: the log and what belongs to it.
        registry: what can be started.
        engine: one that runs in this process too; if it has an ``alarm``, the client is not ready.
        serves: others read the feed through it, so the latest events are in memory from the start.

    Raises:
        ConfigurationError: the read model's database cannot be used; the message says what to do.
        ForeignLog: the read model was fed from another log; it is not changed.
    """
    async with AsyncExitStack() as stack:
        read_model = await SqlReadModel.open(base.settings.read_model_url, namespace=base.settings.namespace)
        stack.push_async_callback(read_model.close)
        projector = Projector(base.log, base.topics, read_model, base.clock, registry=registry, metrics=base.metrics)
        await projector.check()
        feed = Feed(base.log, base.topics, recent=_RECENT if serves else 0)
        await stack.enter_async_context(running(projector.run(), "projector"))
        await stack.enter_async_context(running(feed.run(), "feed"))
        watch = await stack.enter_async_context(watching(base, registry.queues, engine))
        if base.metrics.exported:
            census = Census(read_model, base.metrics, registry.names)
            await stack.enter_async_context(running(census.run(), "census"))
        parts = ClientParts(
            log=base.log,
            topics=base.topics,
            registry=registry,
            clock=base.clock,
            tracing=base.tracing,
            read_model=read_model,
            projector=projector,
            feed=feed,
            watch=watch,
            identity=partial(identity_of, base.log, base.topics),
            vault=base.vault,
        )
        yield Client(parts)


@asynccontextmanager
async def watching(base: Base, queues: Collection[str], engine: Engine | None = None) -> AsyncIterator[Watch]:
    """Checks during the block whether starts can be written and decided, for metrics, warnings and readiness."""
    watch = Watch(
        base.log,
        base.topics,
        base.clock,
        base.metrics,
        group=_engines(base),
        queues=queues,
        alarm=lambda: engine.alarm if engine is not None else None,
    )
    async with running(watch.run(), "watch"):
        yield watch


def _ring(keys: Sequence[SecretStr], setting: str) -> KeyRing:
    return KeyRing([key.get_secret_value() for key in keys], setting)


def _engines(base: Base) -> str:
    return f"{base.settings.namespace}.engine"


@asynccontextmanager
async def running(part: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Runs a part during the block; at the end it is cancelled and awaited."""
    task = asyncio.create_task(part, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=_STOP_SECONDS)


def tune_interpreter() -> None:
    """Tunes the garbage collector of a long-running process; call it when its parts have started.

    Objects from the start are not collected, and the rest is collected less often: a batch has thousands of young
    objects that reference counting frees alone, and a collection at every 700th allocation cost a third of the
    throughput (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def configure_tracing(
    settings: Settings, service: str, extra: SpanProcessor | None = None
) -> tuple[Tracing, TracerProvider | None]:
    """Tracing by OTLP/HTTP if ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its traces variant) is set, else none.

    ``service`` is its name unless ``OTEL_SERVICE_NAME`` or ``OTEL_RESOURCE_ATTRIBUTES`` say another; ``extra`` also
    receives every span. Give the provider to ``export_the_rest`` at the end.
    """
    wanted = _exports("TRACES")
    if not wanted and extra is None:
        return Tracing(), None
    provider = TracerProvider(shutdown_on_exit=False, resource=_resource(service))
    if wanted:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if extra is not None:
        provider.add_span_processor(extra)
    return Tracing(provider, system="sqlite" if settings.kafka is None else "kafka"), provider


def configure_metrics(service: str, *, page: bool = False) -> tuple[Metrics, MeterProvider | None, Callable[[], str]]:
    """Metrics by OTLP/HTTP when ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its metrics variant) is set, and with ``page`` for
    Prometheus: the last of the three makes what it reads. Else they are only counted.

    ``service`` as for ``configure_tracing``. Give the provider to ``export_the_rest`` at the end.
    """
    readers: list[MetricReader] = []
    if _exports("METRICS"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    asked = InMemoryMetricReader()
    if page:
        readers.append(asked)
    if not readers:
        return Metrics(), None, lambda: ""
    provider = MeterProvider(readers, shutdown_on_exit=False, resource=_resource(service))
    return Metrics(provider), provider, lambda: exposition(asked.get_metrics_data())


async def step_over(base: Base, topic: str, partition: int, offset: int, note: Note) -> UnreadableBatch:
    """Skips one batch, or one sealed record, that can never be read; ``note`` is recorded in the history.

    Raises:
        ConfigurationError: the partition is not stopped there, or nothing may be skipped there.
        MissingKey: it is stopped for a key that these settings lack.
        LogUnavailable: the outcome is unknown.
    """
    log, topics, opened = base.log.inner, base.topics, base.log.opened
    place, how = TopicPartition(topic, partition), (base.clock, note, opened)
    if topic == topics.inputs:
        if isinstance(log, KafkaLog):
            at = KafkaTopics(topics.inputs, topics.state)
            return await log.step_over_inputs(at, partition, offset, note, opened=opened)
        return await step_over_alone(log, place, offset, Reader(_engines(base), topics.state), how)
    queue = topic.removeprefix(topics.commands(""))
    if queue != topic:
        group = f"{topics.namespace}.worker.{queue}"
        if isinstance(log, KafkaLog):
            return await log.step_over_commands(place, offset, group, note, opened=opened)
        return await step_over_alone(log, place, offset, Reader(group), how)
    raise ConfigurationError(
        f"offsets of {topic} cannot be skipped, only those of {topics.inputs} and of command topics; restore it from a "
        "replica or a copy"
    )


def now_ms() -> int:
    """The wall clock, milliseconds since epoch, for what is only shown."""
    return SystemClock().now_ms()


async def export_the_rest(*providers: TracerProvider | MeterProvider | None) -> None:
    """Exports what is left and shuts the providers down; waits at most two seconds for the collector."""
    # In daemon threads that are never joined: an exporter waits for its collector for its own, longer timeouts.
    threads = [threading.Thread(target=each.shutdown, daemon=True) for each in providers if each is not None]
    for thread in threads:
        thread.start()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _EXPORT_SECONDS
    while any(thread.is_alive() for thread in threads) and loop.time() < deadline:  # noqa: ASYNC110  # threads tell no loop
        await asyncio.sleep(0.01)


def _resource(service: str) -> Resource:
    """The resource of exported data. The environment's attributes override the given name."""
    return Resource.create({"service.name": service, **OTELResourceDetector().detect().attributes})


def _exports(signal: str) -> bool:
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", f"{signal}_ENDPOINT"))
