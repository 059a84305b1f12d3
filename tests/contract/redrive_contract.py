"""What a redrive of a group's dead letter does on any log."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace

from sagaline import Rejected
from sagaline.orchestrator.client.dead import request_about
from sagaline.orchestrator.codec.dead_letters import read_dead_letter
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.dead import DeadAct
from sagaline.orchestrator.ports.log import Record
from sagaline.workers import Worker

from .subscription_contract import Shipped, SubscriptionWorld, shipped, until

__all__ = ["RedriveContract"]


class RedriveContract:
    async def test_a_dead_letter_is_redriven_to_its_group_alone(self, world: SubscriptionWorld) -> None:
        fixed: list[bool] = []
        seen: dict[str, list[int]] = defaultdict(list)
        picky, other = Worker("picky"), Worker("other")

        @picky.subscribes(shipped)
        async def handle(event: Shipped) -> None:
            if event.number == 1 and not fixed:
                raise Rejected("not ours", code="foreign")
            seen["picky"].append(event.number)

        @other.subscribes(shipped)
        async def take(event: Shipped) -> None:
            seen["other"].append(event.number)

        await world.publish(("a", 1), ("a", 2))
        async with world.engine(), world.running(picky), world.running(other):
            await until(lambda: seen == {"picky": [2], "other": [1, 2]})
            fixed.append(True)
            found: list[Record] = []
            while not found:
                await asyncio.sleep(0.02)  # it leaves with the next commit
                found = await world.all_of(world.topics.dead)
            (dead,) = map(read_dead_letter, found)
            for id in ("r1", "r2"):
                request = replace(request_about(dead, DeadAct.REDRIVE, world.topics), id=id)
                await world.log.append(
                    [encode_entity_message(world.topics.inputs, request, source="/t", now_ms=1, traceparent=None)]
                )
            await until(lambda: seen["picky"] == [2, 1])
            await world.publish(("a", 3))
            await until(lambda: seen == {"picky": [2, 1, 3], "other": [1, 2, 3]})
