"""A person who edits, redrives and discards dead letters, and the law of what that puts back.

Each letter gets a header of its own by an edit before it is redriven, so that its copies can be counted. Only letters
of requests that can never be carried out, and of garbage, are touched: these die again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Final

from sagaline.orchestrator.client.dead import request_about
from sagaline.orchestrator.codec.dead_letters import read_dead_letter
from sagaline.orchestrator.codec.wire import header_map
from sagaline.orchestrator.messages.dead import DEAD, DeadAct, DeadRecord, DeadRequest
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.parcels import to_base64
from sagaline.orchestrator.ports.log import Record
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.testing.broker import Broker

from .agenda import BAD, Request
from .witness import MARK, Evidence, is_garbage

__all__ = ["Clerk", "redriven"]

_LETTERS_MAX: Final = 3


class Clerk:
    """Acts on some letters of a run, sometimes twice.

    Args:
        seed: of all draws; in half of all runs no letter is touched.
        send: sends a request until the log has accepted it.
    """

    def __init__(
        self, seed: int, broker: Broker, topics: Topics, new_id: Callable[[], str], send: Callable[..., Awaitable[None]]
    ) -> None:
        self._drawn = random.Random(f"{seed}/letters")
        self._broker, self._topics, self._new_id, self._send = broker, topics, new_id, send
        self._left = _LETTERS_MAX if self._drawn.random() < 0.5 else 0
        self._seen: set[str] = set()

    async def act(self) -> None:
        """One round: at most one letter."""
        for record in (record for part in self._broker.topic(self._topics.dead) for record in part.records):
            letter = read_dead_letter(record)
            if self._left and letter.name not in self._seen and _is_usable(record, letter):
                self._seen.add(letter.name)
                self._left -= 1
                for request in self._requests(letter):
                    await self._send(request)
                return

    def _requests(self, letter: DeadRecord) -> Iterator[Request]:
        mark = letter.name.encode()
        headers = tuple(each for each in letter.headers if each[0] != MARK)
        marked = (*headers, (MARK, to_base64(mark) or ""))
        yield replace(self._about(letter, DeadAct.EDIT), headers=marked)
        if self._drawn.random() < 0.3:
            yield self._about(letter, DeadAct.DISCARD)
        if self._drawn.random() < 0.8:
            first, other = (self._about(letter, DeadAct.REDRIVE) for _ in range(2))
            yield from self._drawn.choice(((first,), (first, first), (first, other)))

    def _about(self, letter: DeadRecord, act: DeadAct) -> DeadRequest:
        return replace(request_about(letter, act, self._topics), id=self._new_id(), by="operator", reason="again")


def _is_usable(record: Record, letter: DeadRecord) -> bool:
    id = header_map(record.headers).get("ce_id", b"").decode(errors="replace")
    if MARK in header_map(record.headers):
        return False  # it has died again; redriven without an edit it would be counted as the first one
    return letter.cut is None and bool(letter.topic) and (is_garbage(record) or id.startswith(BAD))


def redriven(found: Evidence) -> Iterator[str]:
    """A letter is put back once if it is redriven, as it was edited, and never if it is not."""
    came = Counter(found.marked)
    for id, history in found.history.items():
        if not id.startswith(DEAD):
            continue
        edited, redrives = False, 0
        for record in (decided.record for decided in history):
            if isinstance(request := record.message, DeadRequest) and record.outcome is Outcome.APPLIED:
                edited = edited or request.act is DeadAct.EDIT
                redrives += request.act is DeadAct.REDRIVE
        name = id.removeprefix(DEAD)
        if redrives > 1:
            yield f"{id} was redriven {redrives} times"
        if came[name] != (redrives if edited else 0):
            yield f"{id} was redriven {redrives} times, and put back {came[name]} times"
    for name in came:
        if f"{DEAD}{name}" not in found.history:
            yield f"letter {name} was put back, and nobody asked for it"
