"""docs/wire-format.md and the codec say the same: headers, types, and examples that the codec reads."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from sagaline.orchestrator.codec.commands import ReplyTo, decode_command, encode_command
from sagaline.orchestrator.codec.inputs import decode_input, encode_reply
from sagaline.orchestrator.messages.inputs import Completed
from sagaline.orchestrator.messages.outputs import Outcome, SendCommand
from sagaline.orchestrator.ports.log import Record
from sagaline.orchestrator.ports.topics import Topics
from tests.repo.tree import ROOT, modules, parse

PAGE = (ROOT / "docs" / "wire-format.md").read_text()
HEADER = re.compile(r"\bce_[a-z]+|dead-[a-z0-9-]*[a-z0-9]|traceparent|content-type")
TYPE = re.compile(r"sagaline\.(?:start|act|decided|reply\.[a-z]+)")


def codec_strings() -> set[str]:
    """Every string of the codec; of ``extensions=((name, value), …)`` the names with their prefix."""
    found: set[str] = set()
    for path in modules("orchestrator/codec"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            if isinstance(node, ast.keyword) and node.arg == "extensions" and isinstance(node.value, ast.Tuple):
                pairs = (pair.elts[0] for pair in node.value.elts if isinstance(pair, ast.Tuple))
                found |= {f"ce_{name.value}" for name in pairs if isinstance(name, ast.Constant)}
    return found


def examples() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]


def as_record(example: dict[str, Any]) -> Record:
    headers = tuple((name, value.encode()) for name, value in example["headers"].items())
    value = json.dumps(example["value"]).encode()
    return Record(example["topic"], example.get("partition", 0), 0, example["key"].encode(), value, headers, 0)


def test_page_and_codec_name_the_same_headers() -> None:
    written = {name for name in codec_strings() if HEADER.fullmatch(name)}
    assert len(written) > 15
    assert set(HEADER.findall(PAGE)) == written


def test_page_and_codec_name_the_same_types_and_outcomes() -> None:
    written = {name for name in codec_strings() if TYPE.fullmatch(name)}
    assert len(written) == 6
    assert set(TYPE.findall(PAGE)) == written
    assert [outcome.value for outcome in Outcome if f"`{outcome.value}`" not in PAGE] == []


def test_page_names_every_topic() -> None:
    missing = [spec.name for spec in Topics().specs(["<queue>"], 1) if f"`{spec.name}`" not in PAGE]
    assert missing == []


def test_the_command_on_the_page_is_what_the_engine_writes() -> None:
    example = examples()[0]
    command = decode_command(as_record(example))
    reply_to = ReplyTo(topic="sagaline.inputs", partition=3)
    assert (command.reply_to, command.attempt, command.undo) == (reply_to, 2, False)
    written = encode_command(
        example["topic"],
        SendCommand(
            instance=command.instance,
            step="charge",
            contract=command.contract,
            queue="payment",
            undo=False,
            attempt=2,
            payload=command.payload,
            deadline_ms=command.deadline_ms or 0,
            incarnation="k3x9wq2z",
        ),
        reply_to,
        source=example["headers"]["ce_source"],
        now_ms=1_772_366_400_000,
        traceparent=command.traceparent,
    )
    assert {name: value.decode() for name, value in written.headers} == example["headers"]


def test_the_reply_on_the_page_is_what_a_worker_writes() -> None:
    command, example = examples()
    reply = decode_input(as_record(example))
    assert isinstance(reply, Completed)
    assert reply.command_id == command["headers"]["ce_id"]
    written = encode_reply(
        example["topic"], example["partition"], reply, source=example["headers"]["ce_source"], now_ms=1_772_366_400_120
    )
    assert {name: value.decode() for name, value in written.headers} == example["headers"]
    assert json.loads(written.value or b"") == example["value"]
