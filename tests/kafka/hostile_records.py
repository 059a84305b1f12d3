"""Records as no client of ours would write them, drawn from a seed: for ``inputs`` and for a topic of commands.

Each is one of a closed list of kinds, so that a failure can be told by its name. None of them may change a good
instance: what fits one by accident would be an answer, not a hostile record.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["COMMAND_KINDS", "INPUT_KINDS", "TRACE", "Hostile", "draw"]

Headers = tuple[tuple[str, bytes], ...]
_LARGE_SHARE = 20
"""One of so many records of a large kind is near the broker's limit; more of them would only be slow."""


TRACE = "x-hostile"
"""A header that a dead letter keeps: which of the drawn records it was."""


class Hostile(NamedTuple):
    """One record; its ``id`` is in the header ``TRACE``, and is its ``ce_id`` where it has one."""

    kind: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int
    id: str


class _Pen(NamedTuple):
    """What the kinds draw from."""

    chance: random.Random
    id: str
    instance: str

    def headers(self, kind: str, **more: str) -> Headers:
        plain = {"ce_specversion": "1.0", "content-type": "application/json", "ce_id": self.id, "ce_type": kind}
        named = {name if name.startswith(("ce_", "content")) else f"ce_{name}": value for name, value in more.items()}
        return tuple((name, value.encode("utf-8", "surrogatepass")) for name, value in (plain | named).items())


Drawn = tuple[bytes | None, bytes | None, Headers]
Kind = Callable[[_Pen], Drawn]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _start(pen: _Pen, **body: object) -> bytes:
    definition, _, key = pen.instance.partition("/")
    return _json({"definition": definition, "key": key, "version": None, "input": {}, **body})


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def _no_key(pen: _Pen) -> Drawn:
    return None, _start(pen), pen.headers("sagaline.start")


def _key_not_utf8(pen: _Pen) -> Drawn:
    return b"order-checkout/\xff\xfe", _start(pen), pen.headers("sagaline.start")


def _key_with_control(pen: _Pen) -> Drawn:
    return b"order-checkout/a\x00b", _start(pen), pen.headers("sagaline.start")


def _key_too_long(pen: _Pen) -> Drawn:
    key = "order-checkout/" + "k" * 5_000
    return (
        key.encode(),
        _json({"definition": "order-checkout", "key": "k" * 5_000, "input": {}}),
        pen.headers("sagaline.start"),
    )


def _key_of_dots(pen: _Pen) -> Drawn:
    key = pen.chance.choice(["", ".", ".."])
    body = _json({"definition": "order-checkout", "key": key, "input": {}})
    return f"order-checkout/{key}".encode(), body, pen.headers("sagaline.start")


def _key_of_another(pen: _Pen) -> Drawn:
    return (
        pen.instance.encode(),
        _json({"definition": "order-checkout", "key": "x", "input": {}}),
        pen.headers("sagaline.start"),
    )


def _noise(pen: _Pen) -> Drawn:
    return pen.instance.encode(), pen.chance.randbytes(pen.chance.randrange(200)), pen.headers("sagaline.start")


def _tombstone(pen: _Pen) -> Drawn:
    return pen.instance.encode(), None, pen.headers("sagaline.start")


def _unknown_type(pen: _Pen) -> Drawn:
    return pen.instance.encode(), b"{}", pen.headers("sagaline.nothing")


def _no_headers(pen: _Pen) -> Drawn:
    return pen.instance.encode(), _start(pen), ()


def _large(pen: _Pen) -> Drawn:
    if pen.chance.randrange(_LARGE_SHARE):
        return _noise(pen)
    size = pen.chance.choice([900_000, 1_000_001, 1_040_000, 3_000_000])
    return pen.instance.encode(), b"x" * size, pen.headers("sagaline.start")


def _many_headers(pen: _Pen) -> Drawn:
    more = tuple((f"h{n}", b"v" * 100) for n in range(40 if pen.chance.randrange(50) else 400))
    return pen.instance.encode(), b"[]", pen.headers("sagaline.start") + more


def _deep(pen: _Pen) -> Drawn:
    body = b'{"definition":"order-checkout","key":"k","input":' + _nested(pen.chance.choice([150, 198, 900])) + b"}"
    return pen.instance.encode(), body, pen.headers("sagaline.start")


def _surrogate(pen: _Pen) -> Drawn:
    body = _start(pen)[:-1] + b',"x":"\\ud800"}'
    return pen.instance.encode(), body, pen.headers("sagaline.start")


def _not_a_number(pen: _Pen) -> Drawn:
    body = b'{"definition":"order-checkout","key":"k","input":{"n":NaN}}'
    return pen.instance.encode(), body, pen.headers("sagaline.start")


def _bad_input(pen: _Pen) -> Drawn:
    return pen.instance.encode(), _start(pen, input={"order": {"id": 7}}), pen.headers("sagaline.start")


def _bad_version(pen: _Pen) -> Drawn:
    version = pen.chance.choice([True, -1, "1", 2.5, {}, 10**30])
    return pen.instance.encode(), _start(pen, version=version), pen.headers("sagaline.start")


def _bad_act(pen: _Pen) -> Drawn:
    body = pen.chance.choice([{"act": "explode"}, {"act": "cancel", "by": 5}, {"act": None}, {}])
    return pen.instance.encode(), _json(body), pen.headers("sagaline.act")


def _act_on_nobody(pen: _Pen) -> Drawn:
    body = {"act": "cancel", "by": "x", "reason": "\\ud800" * pen.chance.randrange(3)}
    return pen.instance.encode(), _json(body), pen.headers("sagaline.act")


def _reply_without_command(pen: _Pen) -> Drawn:
    return pen.instance.encode(), b"{}", pen.headers("sagaline.reply.completed")


def _event_of_another_key(pen: _Pen) -> Drawn:
    body = {"event": "paid", "key": "other", "body": {}, "keep_ms": 1_000}
    return b"@mailbox/paid/k", _json(body), pen.headers("sagaline.entity.published")


def _event_kept_for_less_than_nothing(pen: _Pen) -> Drawn:
    body = {"event": "paid", "key": "k", "body": {}, "keep_ms": -5}
    return b"@mailbox/paid/k", _json(body), pen.headers("sagaline.entity.published")


def _entity_of_no_kind(pen: _Pen) -> Drawn:
    return b"@nothing/x", b"{}", pen.headers("sagaline.entity.acquire")


def _structured_event(pen: _Pen) -> Drawn:
    body = {"specversion": "1.0", "id": pen.id, "type": "paid", "source": "/x", "data": {}}
    headers = (("content-type", b"application/cloudevents+json"),)
    return pen.instance.encode(), _json(body), headers


def _position(pen: _Pen) -> Drawn:
    return b"~position", b'{"offset":0,"now_ms":0,"touched":[]}', pen.headers("sagaline.start")


INPUT_KINDS: Mapping[str, Kind] = {
    kind.__name__.strip("_"): kind
    for kind in (
        _no_key,
        _key_not_utf8,
        _key_with_control,
        _key_too_long,
        _key_of_dots,
        _key_of_another,
        _noise,
        _tombstone,
        _unknown_type,
        _no_headers,
        _large,
        _many_headers,
        _deep,
        _surrogate,
        _not_a_number,
        _bad_input,
        _bad_version,
        _bad_act,
        _act_on_nobody,
        _reply_without_command,
        _event_of_another_key,
        _event_kept_for_less_than_nothing,
        _entity_of_no_kind,
        _structured_event,
        _position,
    )
}


def _command(pen: _Pen, contract: str = "charge-card", **more: str) -> Headers:
    given = {
        "subject": pen.instance,
        "effectkey": f"{pen.instance}/charge",
        "direction": "do",
        "attempt": "1",
        "deadline": "99999999999999",
        "replytopic": "",
        "replypartition": "0",
    } | more
    return pen.headers(contract, **{name: value for name, value in given.items() if value})


def _command_noise(pen: _Pen) -> Drawn:
    return pen.instance.encode(), pen.chance.randbytes(100), ()


def _command_without_reply_topic(pen: _Pen) -> Drawn:
    return pen.instance.encode(), b"{}", _command(pen)


def _command_with_odd_number(pen: _Pen) -> Drawn:
    name = pen.chance.choice(["attempt", "replypartition", "deadline"])
    return pen.instance.encode(), b"{}", _command(pen, replytopic="x", **{name: pen.chance.choice(["-1", "1e3", "٣"])})


def _command_with_odd_direction(pen: _Pen) -> Drawn:
    return pen.instance.encode(), b"{}", _command(pen, replytopic="x", direction="sideways")


def _command_with_broken_slip(pen: _Pen) -> Drawn:
    return pen.instance.encode(), b"{}", _command(pen, replytopic="x", slip="{")


def _command_for_a_topic_that_is_not_there(pen: _Pen) -> Drawn:
    return pen.instance.encode(), b"{}", _command(pen, replytopic="nowhere.inputs")


def _command_large(pen: _Pen) -> Drawn:
    if pen.chance.randrange(_LARGE_SHARE):
        return _command_noise(pen)
    return pen.instance.encode(), b"x" * 1_000_001, ()


COMMAND_KINDS: Mapping[str, Kind] = {
    kind.__name__.strip("_"): kind
    for kind in (
        _command_noise,
        _command_without_reply_topic,
        _command_with_odd_number,
        _command_with_odd_direction,
        _command_with_broken_slip,
        _command_for_a_topic_that_is_not_there,
        _command_large,
    )
}


def draw(kinds: Mapping[str, Kind], seed: int, count: int, partitions: int) -> list[Hostile]:
    """So many records, each kind about as often as the others; the same seed draws the same."""
    chance = random.Random(seed)
    names = list(kinds)
    found = []
    for number in range(count):
        name = names[number % len(names)]
        pen = _Pen(chance, f"hostile-{seed}-{number}", f"order-checkout/H-{seed}-{number}")
        key, value, headers = kinds[name](pen)
        headers = ((TRACE, pen.id.encode()), *headers)
        found.append(Hostile(name, key, value, headers, chance.randrange(partitions), pen.id))
    return found
