"""``saga dead`` against a real process; a redrive is killed and run again."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.dead_letters import Why, dead_letter
from sagaline.orchestrator.ports.log import Record, TopicSpec
from sagaline.orchestrator.ports.topics import Topics

from .test_cli_remote import CHECKOUT, SAGA, Process, environment, saga

pytestmark = pytest.mark.slow

QUEUE = "sagaline.commands.parking"
LETTERS = 60


async def bury(path: Path) -> None:
    """Letters of one failure, and one of another."""
    async with SqliteLog(path, clock=SystemClock()) as log:
        await log.create_topics([TopicSpec(QUEUE, 1, "delete")])
        letters = []
        for n in range(LETTERS + 1):
            record = Record(QUEUE, 0, n, b"K-%d" % (n % 5), b'{"n":%d}' % n, (("a", b"b"),), 1)
            why = Why(f"it failed: no stock for {n}" if n < LETTERS else "it was rejected: no", "failed")
            letters.append(dead_letter(Topics().dead, 0, record, why, 900_000))
        await log.append(letters)


async def redriven(path: Path) -> list[int]:
    async with SqliteLog(path, clock=SystemClock()) as log:
        (end,) = (await log.end_offsets([QUEUE])).values()
        tail = await log.tail([QUEUE], "earliest")
        found: list[Record] = []
        while len(found) < end:
            found += await tail.poll(max_records=500, timeout=0.1)
        await tail.close()
        return [json.loads(record.value or b"")["n"] for record in found]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    """Engine and API in one process, with dead letters in its log."""
    folder = tmp_path_factory.mktemp("dead")
    command = [*SAGA, "run", CHECKOUT, "--api", "--port", "0", "--log", "sqlite:///shop.db"]
    process = Process(folder, command, SAGALINE_API_TOKENS='["a-token-for-tests-only"]')
    try:
        process.wait_for(r"answering at (http\S+);")
        asyncio.run(bury(folder / "shop.db"))
        for _ in range(100):
            if f"0-{LETTERS}" in saga(process, "dead", "list"):
                break
        yield process, folder / "shop.db"
    finally:
        process.end()


def test_letters_are_grouped_shown_edited_and_acted_on(up: tuple[Process, Path]) -> None:
    process, _ = up
    groups = saga(process, "dead", "list", "--groups")
    assert str(LETTERS) in groups
    assert "it was rejected: no" in groups
    name = f"0-{LETTERS}"
    (letter,) = json.loads(saga(process, "dead", "list", "--match", "REJECTED", "--json"))["letters"]
    assert letter["id"] == name
    assert saga(process, "dead", "edit", name, "--value", '{"n":-1}', "--by", "ann") == "edit: done\n"
    shown = saga(process, "dead", "show", name)
    for part in ("edited by ann", f"from {QUEUE}/0/{LETTERS}", "it was rejected: no", '{"n":-1}', f'{{"n":{LETTERS}}}'):
        assert part in shown
    assert saga(process, "dead", "discard", name, "--reason", "test data") == "discard: done\n"
    assert saga(process, "dead", "discard", name) == "discard: nothing to change\n"
    assert "discarded" in saga(process, "dead", "list", "--state", "discarded")
    assert "no dead letters match; nothing to redrive" in saga(process, "dead", "redrive", "--match", "x", "--apply")
    assert "nothing is selected: give names of letters, a filter, or --all" in saga(process, "dead", "redrive", code=2)
    assert "not both" in saga(process, "dead", "redrive", name, "--all", code=2)
    assert "there is no dead letter '7-7'" in saga(process, "dead", "show", "7-7", code=1)


def test_a_redrive_that_is_killed_and_run_again_redrives_each_letter_once(up: tuple[Process, Path]) -> None:
    process, path = up
    url = process.wait_for(r"answering at (http\S+);")
    planned = json.loads(saga(process, "dead", "redrive", "--match", "no stock", "--json"))
    assert (planned["dry_run"], planned["counts"]) == (True, {"done": LETTERS})
    assert asyncio.run(redriven(path)) == []
    command = [*SAGA, "dead", "redrive", "--match", "no stock", "--apply", "--rate", "100"]
    given = environment(SAGALINE_URL=url, SAGALINE_API_TOKEN="a-token-for-tests-only")
    with subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        for _ in range(3_000):
            if len(asyncio.run(redriven(path))) >= 5:
                break
        running.kill()
    saga(process, "dead", "redrive", "--match", "no stock", "--apply", "--by", "ann")
    again = json.loads(saga(process, "dead", "redrive", "--match", "no stock", "--apply", "--json"))
    assert again["asked"] == []
    assert sorted(asyncio.run(redriven(path))) == list(range(LETTERS))
