"""Due times: on the days when clocks change, at the ends of months, and against an enumeration of every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaline.sagas.calendar import Calendar, at_utc


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def due(cron: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    """The next due times, as local time with the hours of its offset."""
    calendar = Calendar(cron=cron, zone=zone)
    return [calendar.local(each).replace("Z", "+00:00")[:-3] for each in islice(calendar.after(ms(after)), count)]


BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


@pytest.mark.parametrize(
    ("cron", "after", "zone", "expected"),
    [
        # Spring: 02:00 to 03:00 does not exist; a fixed time of it is due at its end, once.
        ("30 2 * * *", "2026-03-28T12:00Z", BERLIN, ["2026-03-29T03:00:00+02", "2026-03-30T02:30:00+02"]),
        ("0,30 2 * * *", "2026-03-28T12:00Z", BERLIN, ["2026-03-29T03:00:00+02", "2026-03-30T02:00:00+02"]),
        ("0 2,3 * * *", "2026-03-28T12:00Z", BERLIN, ["2026-03-29T03:00:00+02", "2026-03-30T02:00:00+02"]),
        ("*/30 * * * *", "2026-03-29T00:20Z", BERLIN, ["2026-03-29T01:30:00+01", "2026-03-29T03:00:00+02"]),
        ("15 2 * * *", "2026-03-08T05:00Z", NEW_YORK, ["2026-03-08T03:00:00-04", "2026-03-09T02:15:00-04"]),
        # Autumn: an hour comes twice; a fixed time of it is due the first time only, also when asked in the second.
        ("30 2 * * *", "2026-10-24T12:00Z", BERLIN, ["2026-10-25T02:30:00+02", "2026-10-26T02:30:00+01"]),
        ("30 2 * * *", "2026-10-25T01:10Z", BERLIN, ["2026-10-26T02:30:00+01", "2026-10-27T02:30:00+01"]),
        ("0 * * * *", "2026-10-24T23:30Z", BERLIN, ["2026-10-25T02:00:00+02", "2026-10-25T02:00:00+01"]),
        ("30 1 * * *", "2026-11-01T04:00Z", NEW_YORK, ["2026-11-01T01:30:00-04", "2026-11-02T01:30:00-05"]),
        ("*/30 * * * *", "2026-11-01T05:00Z", NEW_YORK, ["2026-11-01T01:30:00-04", "2026-11-01T01:00:00-05"]),
    ],
)
def test_a_due_time_on_a_day_when_clocks_change(cron: str, after: str, zone: str, expected: list[str]) -> None:
    assert due(cron, after, len(expected), zone) == expected


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 0 29 2 *", "2026-01-01T00:00Z", ["2028-02-29", "2032-02-29"]),
        ("0 0 31 * *", "2026-01-31T00:00Z", ["2026-03-31", "2026-05-31"]),
        ("0 0 L * *", "2028-01-31T00:00Z", ["2028-02-29", "2028-03-31"]),
        ("0 0 LW * *", "2026-01-01T00:00Z", ["2026-01-30", "2026-02-27"]),
        ("0 0 * * FRI#1", "2026-01-01T00:00Z", ["2026-01-02", "2026-02-06"]),
        ("0 0 1 1 *", "2026-06-01T00:00Z", ["2027-01-01", "2028-01-01"]),
        ("0 0 13 * FRI", "2026-02-12T00:00Z", ["2026-02-13", "2026-02-20"]),
    ],
)
def test_a_due_time_at_the_end_of_a_month_and_on_a_leap_day(cron: str, after: str, expected: list[str]) -> None:
    assert [each[:10] for each in due(cron, after, 2)] == expected


def test_an_interval_counts_from_1970() -> None:
    calendar = Calendar(every_ms=3_600_000)
    assert list(islice(calendar.after(ms("2026-01-01T10:20Z")), 2)) == [
        ms("2026-01-01T11:00Z"),
        ms("2026-01-01T12:00Z"),
    ]
    assert next(calendar.after(ms("2026-01-01T11:00Z"))) == ms("2026-01-01T12:00Z")
    assert list(calendar.after(253_402_300_799_999)) == []


def test_six_fields_begin_with_seconds() -> None:
    assert due("*/20 0 9 * * *", "2026-01-01T08:59:59Z", 2) == ["2026-01-01T09:00:00+00", "2026-01-01T09:00:20+00"]


@pytest.mark.parametrize(
    ("calendar", "parts"),
    [
        (Calendar(), ("exactly one of cron and every", "'30 2 * * *'")),
        (Calendar(cron="* * * * *", every_ms=1_000), ("exactly one",)),
        (Calendar(cron="0 25 * * *"), ("its hour is '25'", "'30 2 * * MON-FRI'")),
        (Calendar(cron="0 0 1 13 *"), ("its month is '13'",)),
        (Calendar(cron="61 0 0 1 1 *"), ("its second is '61'",)),
        (Calendar(cron="@daily"), ("has 1 fields; give five",)),
        (Calendar(cron="* " * 200), ("give five",)),
        (Calendar(cron="* * * * 1,2#x"), ("its day-of-week",)),
        (Calendar(cron="0 0 30 2 *"), ("its day-of-month is '30'",)),
        (Calendar(cron="0 0 */29 2 MON#5"), ("never comes due",)),
        (Calendar(cron="0 0 * * *", zone="Europe/Berln"), ("did you mean 'Europe/Berlin'?",)),
        (Calendar(cron="0 0 * * *", zone="../../etc/passwd"), ("give an IANA name such as",)),
        (Calendar(every_ms=999), ("0:00:00.999", "1 second to 366 days")),
        (Calendar(every_ms=367 * 86_400_000), ("1 second to 366 days",)),
        (Calendar(every_ms=1_000, zone=BERLIN), ("has no effect", "leave it out")),
    ],
)
def test_a_calendar_that_is_wrong_says_what_and_has_no_due_time(calendar: Calendar, parts: tuple[str, ...]) -> None:
    wrong = calendar.wrong() or ""
    assert all(part in wrong for part in parts), wrong
    assert list(calendar.after(0)) == []


# Against an enumeration

ZONES = (BERLIN, NEW_YORK, "UTC", "Asia/Kathmandu", "Pacific/Auckland", "America/St_Johns", "Africa/Cairo")
MINUTES, HOURS = st.sampled_from(["*", "*/20", "0", "5,35", "30"]), st.sampled_from(["*", "2", "1-3", "0,12", "23"])
DAYS = st.sampled_from([("*", "*"), ("*", "0"), ("*", "1-5"), ("1,29", "*"), ("8", "3")])


def numbers(field: str, first: int, last: int) -> set[int]:
    """The numbers that a field names."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        found |= set(range(first, last + 1) if span == "*" else range(int(low), int(high or low) + 1))
        found = set(sorted(found)[:: int(step or 1)])
    return found


def enumerated(cron: str, zone: ZoneInfo, begin: datetime, days: int) -> list[int]:
    """Due times from the definition: every minute, and each local time that is fixed, mapped to its moment."""
    minute, hour, day, _, weekday = cron.split()
    minutes, hours, dates = numbers(minute, 0, 59), numbers(hour, 0, 23), numbers(day, 1, 31)
    weekdays = {each % 7 for each in numbers(weekday, 0, 7)}
    both = day == "*" or weekday == "*"

    def fits(local: datetime) -> bool:
        by_date, by_weekday = local.day in dates, local.isoweekday() % 7 in weekdays
        return (by_date and by_weekday) if both else (by_date or by_weekday)

    found: set[int] = set()
    if minute.startswith("*") or hour.startswith("*"):
        for number in range(days * 24 * 60):
            moment = begin + timedelta(minutes=number)
            local = moment.astimezone(zone)
            if local.minute in minutes and local.hour in hours and fits(local):
                found.add(int(moment.timestamp() * 1_000))
        return sorted(found)
    first = begin.astimezone(zone).date()
    for number in range(-1, days + 2):
        date = first + timedelta(days=number)
        for clock in ((h, m) for h in hours for m in minutes):
            local = datetime(date.year, date.month, date.day, *clock)
            if fits(local):
                while True:  # a time that does not exist: the end of the gap
                    moment = local.replace(tzinfo=zone).astimezone(UTC)
                    if moment.astimezone(zone).replace(tzinfo=None) == local:
                        break
                    local += timedelta(minutes=1)
                if begin <= moment < begin + timedelta(days=days):
                    found.add(int(moment.timestamp() * 1_000))
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(
    minute=MINUTES,
    hour=HOURS,
    days=DAYS,
    zone=st.sampled_from(ZONES),
    near=st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-24", "2026-10-25", "2026-11-01", "2028-02-28"]),
    cut=st.integers(min_value=0, max_value=3 * 24 * 60),
)
def test_each_due_time_once_in_order_and_the_same_from_any_point(
    minute: str, hour: str, days: tuple[str, str], zone: str, near: str, cut: int
) -> None:
    cron = f"{minute} {hour} {days[0]} * {days[1]}"
    calendar = Calendar(cron=cron, zone=zone)
    begin = datetime.fromisoformat(f"{near}T00:00:00+00:00") - timedelta(days=1)
    end_ms = int((begin + timedelta(days=3)).timestamp() * 1_000)
    expected = enumerated(cron, ZoneInfo(zone), begin, 3)
    begin_ms = int(begin.timestamp() * 1_000)
    assert list(takewhile(lambda at: at < end_ms, calendar.after(begin_ms - 1))) == expected
    cut_ms = begin_ms + cut * 60_000
    later = list(takewhile(lambda at: at < end_ms, calendar.after(cut_ms)))
    assert later == [each for each in expected if each > cut_ms]


def test_a_time_is_shown_in_the_zone_of_the_calendar() -> None:
    at_ms = ms("2026-03-29T01:00:00Z")
    assert at_utc(at_ms) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert Calendar(cron="0 0 * * *", zone=BERLIN).local(at_ms) == "2026-03-29T03:00:00+02:00"
    assert Calendar(every_ms=1_000).local(at_ms) == "2026-03-29T01:00:00Z"
