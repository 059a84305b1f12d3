"""Replies and events that ``inputs`` could not take: after a redrive they take effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.client import Edits
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.codec.inputs import encode_reply
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.entity_messages import publication
from sagaline.orchestrator.messages.inputs import Completed
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.sagas import Event
from sagaline.sagas.nodes import expect, wait

from .kernel_nodes import Did, command_named, flow_of, leg
from .stack import Stack, stack
from .test_api_dead import there

PAID = Event("paid", Did)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    """Instances that wait for a reply and for an event."""
    hears = wait(expect(PAID, key=lambda s: "P-1"), timeout=timedelta(hours=1), name="hears")
    definitions = [flow_of(leg("a", undo=False)), flow_of(hears, name="listener")]
    async with stack(tmp_path, registry=Registry(definitions)) as running_stack:
        for definition in ("talk", "listener"):
            await running_stack.client.start(definition, {}, key="1")
        yield running_stack


async def completes_by_redrive(up: Stack, instance: str, good: Outgoing, bad: Outgoing) -> None:
    """The bad form is dead and changes nothing; edited to the good form and redriven, it ends the instance."""
    await up.log.append([bad])
    await there(up, 1)
    assert (await up.client.get(instance)).status is Status.RUNNING
    (letter,) = (await up.client.dead.list()).letters
    await up.client.dead.edit(letter.record.name, Edits(value=good.value, headers=good.headers))
    assert (await up.client.dead.redrive(letter.record.name)).changed
    async with asyncio.timeout(10):
        while True:
            if (await up.client.get(instance)).status is Status.COMPLETED:
                return
            await asyncio.sleep(0.01)


async def test_a_reply_that_was_dead_is_redriven_and_ends_its_step(up: Stack) -> None:
    """It did not say to which command it is a reply, so it was no failed attempt either."""
    command = command_named(await up.client.get("talk/1"), "a/1")
    reply = Completed(id="r", instance="talk/1", command_id=command, reply={"ok": True})
    good = encode_reply(up.topics.inputs, None, reply, source="/test", now_ms=1)
    anonymous = tuple(header for header in good.headers if header[0] != "ce_commandid")
    await completes_by_redrive(up, "talk/1", good, good._replace(headers=anonymous))


async def test_an_event_that_was_dead_is_redriven_and_reaches_who_waits_for_it(up: Stack) -> None:
    event = publication(PAID, "P-1", {"ok": True}, id="e", source="/test")
    good = encode_entity_message(up.topics.inputs, event, source="/test", now_ms=1, traceparent=None)
    await completes_by_redrive(up, "listener/1", good, good._replace(value=b"{oops"))
