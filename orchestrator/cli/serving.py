"""``saga run``, ``saga worker``, ``saga api``: the parts of a process, and how they start and stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

from ...api.app import create_app
from ...api.health import create_health_app
from ...api.oidc import OidcSettings
from ...api.serving import bind, serving
from ...api.settings import ApiSettings
from ...sagas.definition import AnyDefinition
from ...sagas.schedule import Schedule
from ...workers.presence import tell_presence
from ...workers.runtime import WorkerRuntime
from ...workers.worker import Worker
from .. import wiring
from ..client import RequestOptions
from ..errors import ConfigurationError, NotYetDecided
from ..kernel import Registry
from ..logs import configure_logs
from ..messages.access import Role
from ..settings import Settings
from .options import rendering
from .processes import any_ended, run_process, workers_running
from .readiness import Readiness
from .verify import verification

__all__ = ["api_settings", "health_page", "log_answers", "longest_grace", "serve"]


def serve(
    settings: Settings,
    name: str,
    *,
    engine: Sequence[AnyDefinition] | None = None,
    workers: Sequence[Worker] = (),
    api: Sequence[AnyDefinition] | None = None,
    schedules: Sequence[Schedule[Any]] = (),
) -> None:
    """Runs these parts in this process until it is told to stop.

    Args:
        settings: the log and all other settings.
        name: the service's name in traces.
        engine: definitions to decide for, besides events, parcels and tables; None: no engine.
        workers: the workers to run.
        api: definitions that the API can start; None: no API.
        schedules: put when the API answers.

    Raises:
        SagalineError: the process could not start, or a part of it failed.
    """
    configure_logs(rendering(settings, terminal=sys.stderr.isatty()), settings.log_level)
    deciding, serving = (None if each is None else Registry(each) for each in (engine, api))
    body = _serve(settings, name, deciding, list(workers), serving, schedules=schedules)
    run_process(body, grace_seconds=longest_grace(workers))


async def _serve(
    settings: Settings,
    name: str,
    engine: Registry | None,
    workers: list[Worker],
    api: Registry | None,
    *,
    schedules: Sequence[Schedule[Any]],
) -> None:
    queues = {queue for each in (engine, api) if each is not None for queue in each.queues}
    async with AsyncExitStack() as stack:
        parts: list[asyncio.Task[None]] = []
        tracing, provider = wiring.configure_tracing(settings, name)
        metrics, meters, page = wiring.configure_metrics(name, page=api is not None or settings.health_port is not None)
        stack.push_async_callback(wiring.export_the_rest, provider, meters)
        doors = api_settings(settings)
        listener = stack.enter_context(bind(settings.host, settings.port, doors)) if api is not None else None
        readiness = Readiness()
        health = await stack.enter_async_context(health_page(settings, doors, readiness, page))
        base = await stack.enter_async_context(wiring.open_base(settings, tracing, metrics))
        await wiring.prepare_topics(base, {*queues, *(q for w in workers for q in w.queues)})
        groups = {(each.options.group, each.topic) for worker in workers for each in worker.subscriptions}
        await wiring.prepare_subscriptions(base, groups)
        readiness.add_check(lambda: log_answers(base))
        part = wiring.engine(base, engine) if engine is not None else None
        # First: errors of the read model are reported before anything depends on this process.
        client = None
        if api is not None:
            client = await stack.enter_async_context(wiring.client(base, api, part, serves=True))
        if client is not None:
            readiness.add_check(client.check_ready)
        if part is not None:
            for objection in (lambda: part.objection, lambda: part.clock_alarm):
                readiness.add(objection)
            parts.append(await stack.enter_async_context(wiring.running(part.run(), "engine")))
        for inbox in {id(worker.inbox): worker.inbox for worker in workers if worker.inbox is not None}.values():
            stack.push_async_callback(inbox.close)
        about = base.log, base.topics, base.clock, base.tracing
        runtimes = [(w.name, WorkerRuntime(w, *about, metrics=base.metrics, vault=base.vault)) for w in workers]
        for _, runtime in runtimes:
            telling = tell_presence(runtime, base.log, base.topics, base.clock)
            await stack.enter_async_context(wiring.running(telling, "presence"))
            readiness.add(partial(getattr, runtime, "objection"))
        working = workers_running(runtimes, grace_seconds=longest_grace(workers))
        parts += await stack.enter_async_context(working)
        address = None
        if part is not None and listener is None:
            await stack.enter_async_context(wiring.watching(base, queues, part))
        if listener is not None and client is not None:
            made = partial(create_app, client, clock=base.clock, tracing=base.tracing, settings=doors)
            app = made(metrics=page, verifier=verification, counters=metrics)
            address = await stack.enter_async_context(serving(app, listener, doors))
        said = _said(settings, engine, workers, [address, health])
        print(f"saga: {said}; Ctrl-C stops it", file=sys.stderr, flush=True)
        if client is not None:
            for each in schedules:
                with suppress(NotYetDecided):  # it is in the log
                    await client.schedules.put(each, RequestOptions(by=name))
        wiring.tune_interpreter()
        with readiness.open():
            await any_ended(parts)


def api_settings(settings: Settings) -> ApiSettings:
    """The settings of the API, from the settings of the process.

    Raises:
        ConfigurationError: a token is easy to guess, or only one of the files of TLS is given.
    """
    if (settings.tls_cert is None) is not (settings.tls_key is None):
        raise ConfigurationError("give both --tls-cert and --tls-key, the files of the certificate and of its key")
    both = settings.tls_cert, settings.tls_key
    return ApiSettings(
        tokens=tuple(token.get_secret_value() for token in settings.api_tokens),
        session_key=settings.session_key.get_secret_value() if settings.session_key is not None else None,
        oidc=_oidc(settings),
        tls=(both[0], both[1]) if both[0] is not None and both[1] is not None else None,
        webhook_keys=wiring.webhook_keys(settings),
        hook_secrets=wiring.hook_secrets(settings),
        push=wiring.push_key(settings),
        egress=wiring.guards(settings),
    )


def _oidc(settings: Settings) -> OidcSettings | None:
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_jwks is None:
        raise ConfigurationError("SAGALINE_OIDC_ISSUER needs the provider's keys: set SAGALINE_OIDC_JWKS, URL or file")
    given = settings.oidc_roles if settings.oidc_roles is not None else {role.value: role.value for role in Role}
    if unknown := sorted(set(given.values()) - set(Role)):
        text = f"SAGALINE_OIDC_ROLES gives {', '.join(unknown)}; there are the roles {', '.join(Role)}"
        raise ConfigurationError(text)
    return OidcSettings(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience or settings.namespace,
        jwks=settings.oidc_jwks,
        name_claim=settings.oidc_name_claim,
        role_claim=settings.oidc_role_claim,
        groups_claim=settings.oidc_groups_claim,
        roles={value: Role(role) for value, role in given.items()},
    )


def longest_grace(workers: Iterable[Worker]) -> float:
    """The longest time in seconds that one of these workers may take to stop."""
    return max((worker.grace.total_seconds() for worker in workers), default=0.0)


def _read_by(worker: Worker) -> list[str]:
    """What a worker reads: its queues, and what it subscribes to."""
    return [*worker.queues, *dict.fromkeys(each.name for each in worker.subscriptions)]


@asynccontextmanager
async def health_page(
    settings: Settings, doors: ApiSettings, readiness: Readiness, page: Callable[[], str]
) -> AsyncIterator[str | None]:
    """Says during the block whether the process is alive and ready; yields where, or None: it was not asked to."""
    if settings.health_port is None:
        yield None
        return
    app = create_health_app(readiness.check, readiness.objections, page, doors)
    listener = bind(settings.health_host, settings.health_port, doors, guarded=False)
    async with serving(app, listener, doors, guarded=False) as address:
        yield address


async def log_answers(base: wiring.Base) -> None:
    """Raises: LogUnavailable: the log does not answer."""
    await base.log.end_offsets([base.topics.inputs])


def _said(
    settings: Settings, engine: Registry | None, workers: Iterable[Worker], addresses: Sequence[str | None]
) -> str:
    parts = []
    if engine is not None:
        parts.append(f"deciding for {', '.join(engine.names) or 'events and parcels, no saga'}")
    parts += [f"working as {worker.name} on {', '.join(_read_by(worker))}" for worker in workers]
    api, health = addresses
    if api is not None:
        parts += [f"answering at {api}", f"its dashboard at {api}/"]
    if health is not None:
        parts.append(f"its health at {health}/readyz")
    return f"{'; '.join(parts)}; log {settings.log}, namespace {settings.namespace}"
