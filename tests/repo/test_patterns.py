"""Every pattern that the toolkit owes its users is in the index of docs/patterns, with a page or as not there yet."""

from __future__ import annotations

import re

from tests.repo.tree import ROOT

INDEX = ROOT / "docs" / "patterns" / "README.md"
PATTERNS = {
    *("Polling", "Long polling", "Webhooks", "Push notifications", "WebSocket", "Server-Sent Events"),
    *("Message queue", "Competing consumers", "Publish/subscribe", "Event bus", "Command bus", "Request–response"),
    *("Request–reply", "Fire-and-forget", "Dead letter queue", "Poison message handling", "Priority queue"),
    *("Delayed queue", "Message expiration", "Message filters", "At-most-once", "At-least-once", "Exactly-once"),
    *("Idempotent consumer", "Deduplication", "Ordering", "Resequencer", "Transactional outbox", "Inbox"),
    *("Event-driven architecture", "Content-based router", "Dynamic router", "Splitter", "Aggregator"),
    *("Scatter-gather", "Fan-out/fan-in", "Process manager", "Routing slip", "Saga", "Claim check", "Normalizer"),
    *("Canonical data model", "Schedule"),
}


def test_the_index_names_every_pattern() -> None:
    built, missing = INDEX.read_text().split("## Not there yet")
    named = {name.strip() for row in re.findall(r"^\| (.+?) \|", built, re.M) for name in row.split(",")}
    assert named - {"pattern", "---"} <= PATTERNS
    left = PATTERNS - named
    assert {name for name in left if name.lower() not in missing.lower().replace("\n", " ")} == set()


def test_every_page_is_in_the_index() -> None:
    pages = {path.name for path in INDEX.parent.glob("*.md")} - {INDEX.name}
    assert pages == set(re.findall(r"\]\(([a-z-]+\.md)\)", INDEX.read_text()))
