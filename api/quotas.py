"""Quotas: how much a credential, and all of a namespace, may ask of this node. The table ``api.quotas`` says it.

- Counted in the memory of this process: N nodes allow N times as much. There is no coordinator, and no request waits.
- The table is read in the background, at most every quarter of a second and only while requests come; while it cannot
  be read, what was known last holds.
- What is refused costs nothing of any quota.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Generic, TypeVar

import structlog
from starlette.requests import HTTPConnection

from ..orchestrator.client import Client
from ..orchestrator.errors import SagalineError
from ..orchestrator.messages.buckets import Bucket
from ..orchestrator.messages.quotas import QUOTAS_TABLE, Counted, Quota, quotas_for, quotas_of
from ..orchestrator.ports.clock import Clock
from ..orchestrator.runtime.metrics import Metrics
from .problems import HttpProblem

__all__ = ["Allowance", "Quotas", "allowance_of", "rate_headers"]

_log = structlog.get_logger("sagaline.api")

_TABLE_SECONDS: Final = 0.25
_COUNT_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 5
"""When what is refused because others have it may be tried again."""
_RETRY_SECONDS_MAX: Final = 60
"""Of the header: a client asks again after a minute at most, as the quota may have been raised. The text says more."""
_LOG_SECONDS: Final = 10.0
_KEPT_MAX: Final = 10_000
"""Buckets; beyond it those used longest ago are forgotten, and so full again."""
_NAMED_MAX: Final = 10

T = TypeVar("T")


class _Glimpse(Generic[T]):
    """A value that nobody waits for: it is read again in the background, if it is asked for and so many seconds old.

    While it cannot be read it stays as it was: the readiness of the process says so. ``is_old``: it was read longer ago
    than twice these seconds, or never.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], first: T, seconds: float, clock: Clock) -> None:
        self._read, self._value, self._seconds, self._clock = read, first, seconds, clock
        self._asked_at = self._known_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def value(self) -> T:
        now = self._clock.monotonic()
        if (self._reading is None or self._reading.done()) and now - self._asked_at >= self._seconds:
            self._asked_at = now
            self._reading = asyncio.create_task(self._again(self._read()), name="quotas")
        return self._value

    @property
    def is_old(self) -> bool:
        return self._clock.monotonic() - self._known_at > 2 * self._seconds

    async def _again(self, reading: Awaitable[T]) -> None:
        try:
            self._value = await reading
            self._known_at = self._clock.monotonic()
        except SagalineError as error:
            _log.debug("quotas.unread", reason=str(error))


class Quotas:
    """The quotas of this node. ``metrics``: counts what was refused."""

    def __init__(self, client: Client, clock: Clock, metrics: Metrics) -> None:
        self._client, self._clock, self._metrics = client, clock, metrics
        self._rules: _Glimpse[tuple[Quota, ...]] = _Glimpse(self._read, (), _TABLE_SECONDS, clock)
        self._count: _Glimpse[tuple[int, int]] = _Glimpse(self._counted, (0, 0), _COUNT_SECONDS, clock)
        self._buckets: OrderedDict[tuple[Quota, str], Bucket] = OrderedDict()
        self._streams: Counter[str] = Counter()
        self._started = self._starting = self._answered = 0
        self._refused: Counter[str] = Counter()
        self._logged_at = float("-inf")

    def rules(self) -> tuple[Quota, ...]:
        """Those that hold now."""
        return self._rules.value()

    def bucket(self, quota: Quota, name: str) -> Bucket:
        """Of a rate, filled up to now."""
        key = quota, name if quota.by is not None else ""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(quota.burst)
            if len(self._buckets) > _KEPT_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.fill(self._clock.monotonic(), quota.per_second, quota.burst)
        return bucket

    def taken(self, quota: Quota, name: str) -> int:
        """How many there are of what is counted at once: open streams, or unfinished instances.

        Of instances as the read model had them up to two seconds ago, and the starts that this node had not answered
        then or has let in since. When it is over four seconds old: only the starts since it was last asked for.
        """
        if quota.of is Counted.UNFINISHED:
            count, answered = self._count.value()
            if self._count.is_old:
                count, answered = 0, self._answered
            return count + self._started - answered
        return self._streams.total() if quota.by is None else self._streams[name]

    @contextmanager
    def start(self) -> Iterator[None]:
        """A start that was let in, until it is answered."""
        self._started += 1
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    @contextmanager
    def stream(self, name: str) -> Iterator[None]:
        """One more open stream during the block."""
        self._streams[name] += 1
        try:
            yield
        finally:
            self._streams[name] -= 1
            if not self._streams[name]:
                del self._streams[name]

    def exceeded(self, quota: Quota, name: str, seconds: float) -> HttpProblem:
        """The problem of what is refused; it is counted, and logged together with others every ten seconds."""
        wait = max(1, math.ceil(seconds))
        self._metrics.add("quotas.refused", 1, quota.of, "namespace" if quota.by is None else "credential")
        self._refused[name] += 1
        now = self._clock.monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            named = dict(self._refused.most_common(_NAMED_MAX))
            _log.warning("quota.refused", of=quota.of.value, count=self._refused.total(), by=named)
            self._refused.clear()
            self._logged_at = now
        whose = "this namespace has" if quota.by is None else f"{name or 'everybody here'} has"
        most = f"{quota.count:,} at once" if not quota.seconds else f"{quota.count:,} in {quota.seconds:,} s"
        text = f"{whose} used up the quota of {quota.of.noun}, {most}; try again in {wait:,} s"
        left = rate_headers([(quota, self.bucket(quota, name))] if quota.seconds else [])
        return HttpProblem("quota-exceeded", text, headers={"Retry-After": str(min(wait, _RETRY_SECONDS_MAX)), **left})

    async def _read(self) -> tuple[Quota, ...]:
        return quotas_of((await self._client.tables.read(QUOTAS_TABLE)).rules)

    def _counted(self) -> Awaitable[tuple[int, int]]:
        answered = self._answered = self._started - self._starting

        async def count() -> tuple[int, int]:
            return await self._client.unfinished(), answered

        return count()


class Allowance:
    """What one credential may do. ``name`` None: everything."""

    def __init__(self, quotas: Quotas, name: str | None) -> None:
        self._quotas, self._name = quotas, name

    def of(self, name: str) -> Allowance:
        """That of another name."""
        return Allowance(self._quotas, name)

    def admit(self, *wanted: Counted) -> list[tuple[Quota, Bucket]]:
        """Lets in a request that needs one of each, and returns the rates that it counted for.

        Of bytes one must be left; ``charge`` takes those that came, also more than there are: then the next waits.

        Raises:
            HttpProblem: ``quota-exceeded``; nothing was taken.
        """
        if self._name is None or not (rules := self._quotas.rules()):
            return []
        rates: list[tuple[Quota, Bucket]] = []
        for quota in (each for of in wanted for each in quotas_for(rules, of, self._name)):
            if quota.of.is_rate:
                bucket = self._quotas.bucket(quota, self._name)
                if bucket.tokens < 1:
                    raise self._quotas.exceeded(quota, self._name, bucket.seconds_to(1, quota.per_second))
                rates.append((quota, bucket))
            elif self._quotas.taken(quota, self._name) >= quota.count:
                raise self._quotas.exceeded(quota, self._name, _AGAIN_SECONDS)
        for quota, bucket in rates:
            if quota.of is not Counted.BYTES:
                bucket.tokens -= 1
        return rates

    def start(self) -> AbstractContextManager[None]:
        """A start that was let in, until it is answered."""
        return self._quotas.start()

    def charge(self, count: int) -> None:
        """So many bytes of a body, or of a message, have come."""
        if self._name is not None:
            for quota in quotas_for(self._quotas.rules(), Counted.BYTES, self._name):
                self._quotas.bucket(quota, self._name).tokens -= count

    @contextmanager
    def stream(self) -> Iterator[None]:
        """A stream, a WebSocket or a request that waits for events, during the block.

        Raises:
            HttpProblem: ``quota-exceeded``.
        """
        self.admit(Counted.STREAMS)
        if self._name is None:
            yield
            return
        with self._quotas.stream(self._name):
            yield


def rate_headers(rates: Sequence[tuple[Quota, Bucket]]) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit``, as draft-ietf-httpapi-ratelimit-headers has them: what is left of each,
    and the seconds until all of it is there again.
    """
    policies, left = list[str](), list[str]()
    for quota, bucket in rates:
        name = f'"{quota.of.value}{"" if quota.by is None else "-own"}"'
        unit = ';qu="content-bytes"' if quota.of is Counted.BYTES else ""
        whole = math.ceil(bucket.seconds_to(quota.burst, quota.per_second))
        policies.append(f"{name};q={quota.count};w={quota.seconds}{unit}")
        left.append(f"{name};r={max(0, int(bucket.tokens))};t={whole}")
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)} if rates else {}


def allowance_of(connection: HTTPConnection) -> Allowance:
    """Of who asks. ``Limited`` has put it there."""
    allowance: Allowance = connection.scope["state"]["allowance"]
    return allowance
