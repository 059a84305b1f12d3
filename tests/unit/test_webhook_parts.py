"""Webhooks without a receiver: the rules of their table, and when a delivery is tried again."""

from __future__ import annotations

import heapq
from dataclasses import replace
from datetime import timedelta

from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.instance_events import EventType
from sagaline.orchestrator.messages.own_tables import OWN_TABLES
from sagaline.orchestrator.messages.webhooks import WEBHOOKS, Webhook
from sagaline.sagas.policy import spread_ms
from sagaline.workers.webhooks.courier import RETRY


def test_a_change_leaves_the_webhooks_of_a_newer_release() -> None:
    newer, ours = Rule(when={"name": "new", "batch": 5}, to="https://example.com"), Webhook(name="a", url="u")
    assert WEBHOOKS.replaced([newer, WEBHOOKS.rule(ours)], "a", None) == [newer]
    assert WEBHOOKS.replaced([newer], "a", ours) == [newer, WEBHOOKS.rule(ours)]


def test_rules_are_read_back_and_wrong_ones_are_denied() -> None:
    full = Webhook(
        name="a",
        url="https://example.com",
        types=(EventType.STARTED,),
        definitions=("d",),
        created=2,
        generation=3,
        rotated_by="r-1",
        overlap_from=2,
        overlap_until_ms=5,
        disabled="gone",
    )
    plain = Webhook(name="b", url="https://example.com")
    rules = [WEBHOOKS.rule(full), WEBHOOKS.rule(plain)]
    assert WEBHOOKS.of(rules) == (full, plain)
    wrong = OWN_TABLES[WEBHOOKS.table]
    assert wrong(rules) is None
    assert "has no name" in (wrong([Rule(when={}, to="https://example.com")]) or "")
    assert wrong([Rule(when={"name": "a", "types": ["odd"], "batch": 1}, to="u")]) is None, "of a newer release"
    for bad, says in (
        (replace(plain, name="A b"), "is no name"),
        (replace(plain, url="u" * 2_049), "shorter"),
        (replace(plain, definitions=("d",) * 51), "fewer"),
        (replace(plain, generation=0), "counts from 1"),
    ):
        assert says in (WEBHOOKS.check_one(bad) or ""), bad
    assert WEBHOOKS.check_one(full) is None
    assert "the name 'a' of another one" in (wrong([rules[0], rules[0]]) or "")
    assert "at most 100" in (wrong([WEBHOOKS.rule(Webhook(name=f"a{n}", url="u")) for n in range(101)]) or "")


def test_a_receiver_that_is_slow_gets_its_events_soon_and_one_that_is_away_for_two_days_gets_them_too() -> None:
    """A thousand events at once for a receiver that takes 2 s, 8 at a time: it could have them in 4 minutes."""
    due, busy, last_ms = [(0, number, 1) for number in range(1_000)], list[int](), 0
    while due:
        now_ms, number, attempt = heapq.heappop(due)
        while busy and busy[0] <= now_ms:
            heapq.heappop(busy)
        if len(busy) < 8:
            last_ms = now_ms + 2_000
            heapq.heappush(busy, last_ms)
        else:
            assert attempt < RETRY.max_attempts
            delay_ms = RETRY.delay_ms(attempt)
            heapq.heappush(due, (now_ms + delay_ms - spread_ms(delay_ms, f"{number}/{attempt}"), number, attempt + 1))
    assert timedelta(milliseconds=last_ms) < timedelta(hours=1)
    waits_ms = sum(RETRY.delay_ms(attempt) for attempt in range(1, RETRY.max_attempts))
    assert timedelta(days=2.5) < timedelta(milliseconds=waits_ms) < timedelta(days=3)
