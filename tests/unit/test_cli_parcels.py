"""``saga parked`` and ``saga delayed`` against a real process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.parcels import Letter, Posted, RetryPolicy, Source, parcel_id, parked_letter
from sagaline.orchestrator.ports.log import TopicSpec
from sagaline.orchestrator.ports.topics import Topics

from .test_cli_remote import CHECKOUT, SAGA, Process, saga

pytestmark = pytest.mark.slow

AGAIN = "sagaline.redelivered.billing"


def posted() -> list[Posted]:
    """Two keys that are parked, one with a message behind it, and a delayed message."""
    letters = [
        parked_letter("billing", Source(topic="shop", partition=0, offset=offset), key, b'{"n":1}', (("a", b"b"),))
        for offset, key in ((1, b"A-1"), (2, b"A-1"), (3, b"A-2"))
    ]
    keys = [
        Posted(
            id=letter.id,
            instance=parcel_id("billing", key),
            letter=letter,
            group="billing",
            redeliver_to=AGAIN,
            redeliver_partition=0,
            retry=RetryPolicy(max_attempts=3, first_ms=1_000, most_ms=60_000),
            error=error,
            detail="line 7",
            attempts=3,
        )
        for letter, key, error in zip(letters, (b"A-1", b"A-1", b"A-2"), ("Boom: no", None, "Boom"), strict=True)
    ]
    later = Letter(id="m-1", topic="mail", key="QQ==", value="e30=")
    return [*keys, Posted(id="m-1", instance="@parcel/m-1", letter=later, due_ms=4_102_444_800_000)]


async def post(path: Path) -> None:
    async with SqliteLog(path, clock=SystemClock()) as log:
        await log.create_topics([TopicSpec(AGAIN, 1, "delete"), TopicSpec("mail", 1, "delete")])
        inputs = Topics().inputs
        await log.append(
            [encode_entity_message(inputs, each, source="/test", now_ms=1, traceparent=None) for each in posted()]
        )


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Engine and API in one process, with letters in its log."""
    folder = tmp_path_factory.mktemp("parcels")
    command = [*SAGA, "run", CHECKOUT, "--api", "--port", "0", "--log", "sqlite:///shop.db"]
    process = Process(folder, command, SAGALINE_API_TOKENS='["a-token-for-tests-only"]')
    try:
        process.wait_for(r"answering at (http\S+);")
        asyncio.run(post(folder / "shop.db"))
        for part, command in (("A-2", ["parked", "list"]), ("m-1", ["delayed", "list"])):
            for _ in range(100):
                if part in saga(process, *command):
                    break
        yield process
    finally:
        process.end()


def test_a_parked_key_is_listed_shown_edited_and_redriven(up: Process, tmp_path: Path) -> None:
    listed = saga(up, "parked", "list", "--group", "billing")
    for part in ("billing", "A-1", "Boom: no", "2", "3"):
        assert part in listed
    shown = saga(up, "parked", "show", "billing", "A-1")
    for part in ("parked, 2 letters", "attempt 3 failed", "Boom: no", "line 7", "billing/shop/0/2", '{"n":1}', "a=b"):
        assert part in shown
    file = tmp_path / "value.bin"
    file.write_bytes(b"\xff")
    edit = ("parked", "edit", "billing", "A-1", "--letter", "billing/shop/0/1")
    assert saga(up, *edit, "--value", f"@{file}", "--header", "c=d=e") == "edit: done\n"
    assert saga(up, *edit, "--value", f"@{file}") == "edit: nothing to change\n"
    shown = saga(up, "parked", "show", "billing", "A-1")
    assert "base64:/w==" in shown
    assert "c=d=e" in shown
    assert saga(up, "parked", "redrive", "billing", "A-1", "--reason", "fixed") == "redrive: done\n"
    assert "A-1" in saga(up, "parked", "list", "--retrying")
    assert "its letters are being delivered" in saga(up, *edit, "--no-headers", code=1)


def test_a_key_is_skipped_and_discarded(up: Process) -> None:
    wrong = saga(up, "parked", "skip", "billing", "A-2", "--letter", "billing/shop/0/9", code=1)
    assert "its first letter is 'billing/shop/0/3' now; read the parcel again, then decide" in wrong
    answer = json.loads(saga(up, "parked", "skip", "billing", "A-2", "--json"))
    assert (answer["id"], answer["changed"]) == ("@parcel/billing/A-2", True)
    gone = saga(up, "parked", "discard", "billing", "A-2", code=1)
    assert "nothing waits in '@parcel/billing/A-2': list what is parked and delayed now" in gone


def test_a_delayed_message_is_rescheduled_edited_and_cancelled(up: Process) -> None:
    assert "to mail, due 2100-01-01" in saga(up, "delayed", "show", "m-1")
    assert saga(up, "delayed", "reschedule", "m-1", "--at", "2100-01-02T00:00:00Z") == "reschedule: done\n"
    assert "give ISO 8601" in saga(up, "delayed", "reschedule", "m-1", "--at", "soon", code=1)
    assert saga(up, "delayed", "edit", "m-1", "--letter", "m-1", "--value", "new") == "edit: done\n"
    shown = json.loads(saga(up, "delayed", "show", "m-1", "--json"))
    assert (shown["content"]["value"]["text"], shown["due_at"]) == ("new", "2100-01-02T00:00:00.000Z")
    assert saga(up, "delayed", "cancel", "m-1") == "cancel: done\n"
    assert saga(up, "delayed", "list") == "no message is delayed\n"


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ((), "nothing would change: give --value, --header or --no-headers"),
        (("--header", "a"), "the header 'a' has no value; give --header NAME=VALUE"),
        (("--value", "@none"), "none cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_edit_is_one_sentence(up: Process, more: tuple[str, ...], part: str) -> None:
    said = saga(up, "parked", "edit", "billing", "A-1", "--letter", "x", *more, code=2)
    assert part in said
    assert said.count("\n") == 1
