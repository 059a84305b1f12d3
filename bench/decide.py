"""What one message costs an engine, part by part: decode, decide, encode, log. Microseconds, median of several rounds.

    python bench/decide.py

The messages are those of the three-step flow of ``bench/flows.py``. ``log`` is the embedded log's commit of a batch of
100 decisions, divided by 100.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent))

from checkout import INPUT
from flows import QUEUE, flow

from sagaline.orchestrator.codec.commands import ReplyTo, decode_command, encode_command
from sagaline.orchestrator.codec.documents import decode_document, encode_document, encode_history
from sagaline.orchestrator.codec.inputs import decode_input, encode_reply, encode_request
from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Arrival, Completed, Message, Start
from sagaline.orchestrator.messages.outputs import Decision, SendCommand
from sagaline.orchestrator.ports.log import Batch, Outgoing, Position, Record
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import open_base, prepare_topics

REPLY_TO = ReplyTo(topic="bench.inputs", partition=0)
ROUNDS, REPEATS, BATCH = 15, 400, 100


def microseconds(work: Callable[[], object], parts: int = 1) -> float:
    """Median time of one call, over the parts that one call does."""
    rounds = []
    for _ in range(ROUNDS):
        began = perf_counter()
        for _ in range(REPEATS):
            work()
        rounds.append((perf_counter() - began) / REPEATS / parts * 1e6)
    return round(statistics.median(rounds), 1)


def record(outgoing: Outgoing) -> Record:
    return Record(outgoing.topic, 0, 0, outgoing.key, outgoing.value, outgoing.headers, 0)


def run() -> list[tuple[Message, Document | None, Decision]]:
    """Every message of one flow, the document before it, and the decision."""
    start = Start(id="r-1", definition=flow.name, key="A-1001", input=INPUT)
    steps: list[tuple[Message, Document | None, Decision]] = []
    message: Message = start
    document: Document | None = None
    while True:
        decision = decide(flow, document, Arrival(message=message, now_ms=1_000))
        steps.append((message, document, decision))
        document = decision.document
        if not decision.actions:
            return steps
        command = decision.actions[0]
        assert isinstance(command, SendCommand)
        message = Completed(
            id=f"{command.id}/r", instance=command.instance, command_id=command.id, reply={"reference": "done"}
        )


def inputs(steps: list[tuple[Message, Document | None, Decision]]) -> list[Record]:
    records = []
    for message, _, _ in steps:
        if isinstance(message, Start):
            records.append(record(encode_request("bench.inputs", message, source="/b", now_ms=1_000)))
        elif isinstance(message, Completed):
            records.append(record(encode_reply("bench.inputs", 0, message, source="/w", now_ms=1_000)))
    return records


def history(message: Message, decision: Decision) -> Outgoing:
    after = decision.document
    assert after is not None
    entry = HistoryRecord(
        instance=after.id,
        revision=after.revision,
        at_ms=1_000,
        outcome=decision.outcome,
        status=after.status,
        message=message,
        changes=decision.changes,
    )
    return encode_history("bench.history", 0, entry, id="0/1", request=message.id, source="/b")


def commands(decision: Decision) -> list[Outgoing]:
    return [
        encode_command("bench.commands", action, REPLY_TO, source="/b", now_ms=1_000, traceparent=None)
        for action in decision.actions
        if isinstance(action, SendCommand)
    ]


async def log_cost(steps: list[tuple[Message, Document | None, Decision]], folder: str) -> float:
    """Microseconds per decision of a commit of ``BATCH`` decisions: state, history, command, position."""
    async with open_base(Settings(log=f"sqlite:///{folder}/log.db", namespace="bench", partitions=1)) as base:
        await prepare_topics(base, [QUEUE])
        membership = await base.log.join(base.topics.inputs, base.topics.state, "bench")
        await membership.changed()
        owner = await membership.take(0)
        message, _, decision = steps[1]
        assert decision.document is not None
        document = encode_document(decision.document)
        appends = [history(message, decision)._replace(topic=base.topics.history)] * BATCH
        appends += [commands(decision)[0]._replace(topic=base.topics.commands(QUEUE))] * BATCH
        await base.log.append([Outgoing(base.topics.inputs, b"k", b"{}", (), 0)] * ROUNDS)
        rounds = []
        for turn in range(ROUNDS):
            state: dict[bytes, bytes | None] = {f"bench/{turn}-{n}".encode(): document for n in range(BATCH)}
            began = perf_counter()
            await owner.commit(Batch(state, appends, Position(turn + 1, 0)))
            rounds.append((perf_counter() - began) / BATCH * 1e6)
        await owner.release()
        await membership.leave()
    return round(statistics.median(rounds), 1)


def main() -> None:
    steps = run()
    count = len(steps)
    records = inputs(steps)
    documents = [decision.document for _, _, decision in steps if decision.document is not None]
    stored = [encode_document(document) for document in documents]
    sent = [record(command) for _, _, decision in steps for command in commands(decision)]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        log = asyncio.run(log_cost(steps, folder))
    row = {
        "decode input": microseconds(lambda: [decode_input(r) for r in records], count),
        "decide": microseconds(lambda: [decide(flow, d, Arrival(message=m, now_ms=1_000)) for m, d, _ in steps], count),
        "encode document": microseconds(lambda: [encode_document(d) for d in documents], count),
        "encode history": microseconds(lambda: [history(m, d) for m, _, d in steps], count),
        "encode command": microseconds(lambda: [commands(d) for _, _, d in steps], count),
        "log (batch of 100)": log,
        "decode document (cache miss)": microseconds(lambda: [decode_document(s) for s in stored], count),
        "worker: decode command": microseconds(lambda: [decode_command(s) for s in sent], len(sent)),
    }
    print(json.dumps({"case": "one message", "unit": "us", **row}))


if __name__ == "__main__":
    main()
