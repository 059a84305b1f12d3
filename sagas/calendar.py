"""``Calendar``: the due times of a schedule, computed from values alone: an expression or a span, and a zone's name.

- Zones come from the package ``tzdata``, never from the machine: processes that are deployed from one lock agree.
- A cron expression means what Debian's cron does. A fixed time that the clocks skip in spring is due at the end of the
  gap; one that they repeat in autumn is due once, the first time. An hour that begins with ``*`` follows real time.
- An interval counts from 1970-01-01T00:00Z, so it needs no beginning that anything must remember.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

__all__ = ["Calendar", "at_utc"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_214_400_000
"""The last day of the year 9999: a zone may still move it within what a date can hold."""
_CRON_CHARS: Final = 200
_EVERY_MS: Final = (1_000, 366 * 86_400_000)
_FORM: Final = "minute hour day-of-month month day-of-week, such as '30 2 * * MON-FRI' (02:30 on weekdays)"


def at_utc(at_ms: int) -> datetime:
    """The time of milliseconds since epoch."""
    return _EPOCH + timedelta(milliseconds=at_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Exactly one of ``cron`` and ``every_ms``. ``zone``: an IANA name, for ``cron``."""

    cron: str | None = None
    every_ms: int | None = None
    zone: str = "UTC"

    def after(self, at_ms: int) -> Iterator[int]:
        """The due times later than ``at_ms``, in order, milliseconds since epoch; each once.

        They end with the year 9999, or where an expression has none for 50 years. A calendar that is wrong has none.
        """
        if self.wrong() is not None:
            return
        last_ms = at_ms
        for due_ms in self._cron_after(at_ms) if self.every_ms is None else self._every_after(at_ms, self.every_ms):
            if due_ms > _LAST_MS:
                return
            if due_ms > last_ms:  # a gap moves several fixed times to one moment, and what clocks repeat is past
                last_ms = due_ms
                yield due_ms

    def local(self, at_ms: int) -> str:
        """A time as ISO 8601 in the calendar's zone, such as ``2026-03-29T03:00:00+02:00``."""
        return at_utc(at_ms).astimezone(_zone(self.zone)).isoformat().replace("+00:00", "Z")

    def wrong(self) -> str | None:
        """What is wrong, and a right example; None: it is valid."""
        return _wrong(self)

    def _every_after(self, at_ms: int, every_ms: int) -> Iterator[int]:
        due_ms = at_ms // every_ms * every_ms
        while True:
            due_ms += every_ms
            yield due_ms

    def _cron_after(self, at_ms: int) -> Iterator[int]:
        if not 0 <= at_ms < _LAST_MS:
            return
        try:
            for due in CronSim(self.cron or "", at_utc(at_ms).astimezone(_zone(self.zone))):
                yield (due.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
        except (OverflowError, ValueError):  # beyond the last date
            return


@cache
def _zones() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@cache
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@lru_cache(maxsize=1024)
def _wrong(calendar: Calendar) -> str | None:
    if (calendar.cron is None) == (calendar.every_ms is None):
        return "give exactly one of cron and every, such as cron='30 2 * * *' (02:30 every day) or every an hour"
    if calendar.every_ms is not None:
        return _wrong_interval(calendar.every_ms, calendar.zone)
    if calendar.zone not in _zones():
        near = get_close_matches(calendar.zone, _zones(), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else "give an IANA name such as 'Europe/Berlin' or 'UTC'"
        return f"there is no time zone {calendar.zone[:80]!r}; {hint}"
    return _wrong_expression(calendar.cron or "") or _never(calendar)


def _wrong_interval(every_ms: int, zone: str) -> str | None:
    least, most = _EVERY_MS
    if not least <= every_ms <= most:
        return f"every is {timedelta(milliseconds=every_ms)}; give 1 second to 366 days, or a cron expression"
    if zone != "UTC":
        return f"an interval counts in UTC, so the zone {zone[:80]!r} has no effect; leave it out, or give cron"
    return None


def _wrong_expression(cron: str) -> str | None:
    parts = cron.split()
    if len(cron) > _CRON_CHARS or len(parts) not in (5, 6):
        return f"the cron expression {cron[:_CRON_CHARS]!r} has {len(parts)} fields; give five: {_FORM}"
    try:
        CronSim(cron, _EPOCH)
    except CronSimError as error:
        name = str(error).lower().removeprefix("bad ")
        names = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")[6 - len(parts) :]
        found = f"its {name} is {parts[names.index(name)]!r}" if name in names else str(error)
        return f"the cron expression {cron!r} cannot be used: {found}; the fields are {_FORM}"
    except Exception:  # the parser raises others for odd combinations
        return f"the cron expression {cron!r} is not understood; the fields are {_FORM}"
    return None


def _never(calendar: Calendar) -> str | None:
    if next(calendar._cron_after(0), None) is None:
        return f"the cron expression {calendar.cron!r} never comes due; the fields are {_FORM}"
    return None
