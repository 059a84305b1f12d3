"""Workers for processes that are killed. What a handler did is a line in a file, which SIGKILL does not remove."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from sagaline import Retry
from sagaline.sagas import Event
from sagaline.workers import Message, Worker

__all__ = ["LINES", "SEED", "Copied", "Counted", "copied", "counted", "lines", "worker"]

LINES = "KILLED_LINES"
"""The variable with the path of the file."""
SEED = 20_261_129
_FAILS = 0.01
_AT_WORK_SECONDS = 0.002


class Counted(BaseModel):
    key: str
    number: int


class Copied(BaseModel):
    key: str
    copy_of: int


counted, copied = Event("counted", Counted), Event("copied", Copied)
worker = Worker("killed")
_OFTEN = Retry(max_attempts=20, first_delay=timedelta(milliseconds=20), max_delay=timedelta(milliseconds=100))


def note(group: str, event: Counted) -> None:
    """Appends a line at once."""
    file = os.open(os.environ[LINES], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{group} {event.key} {event.number}\n".encode())
    finally:
        os.close(file)


def lines(path: Path, group: str) -> list[tuple[str, int]]:
    """Keys and numbers that a group has noted, in order."""
    found = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(key, int(number)) for of, key, number in found if of == group]


async def work(event: Counted, message: Message) -> None:
    """Takes a moment, and fails by chance: the same attempt of a message always in the same way."""
    await asyncio.sleep(_AT_WORK_SECONDS)
    chance = random.Random(f"{SEED}/{message.group}/{message.id}/{message.attempt}")
    if chance.random() < _FAILS:
        raise RuntimeError("by chance")


@worker.subscribes(counted, group="exactly", delivery="exactly_once", retry=_OFTEN)
async def copy(event: Counted, message: Message) -> None:
    message.publish(copied, event.key, Copied(key=event.key, copy_of=event.number))
    await work(event, message)


@worker.subscribes(counted, group="least", delivery="at_least_once", retry=_OFTEN)
async def handle(event: Counted, message: Message) -> None:
    await work(event, message)
    note("least", event)


@worker.subscribes(counted, group="most", delivery="at_most_once")
async def attempt(event: Counted, message: Message) -> None:
    note("most", event)
    await work(event, message)
