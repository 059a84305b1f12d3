"""The normalizer: three suppliers' orders become one, and whatever cannot is refused with a reason."""

from __future__ import annotations

import io
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pydantic import BaseModel

from sagaline.sagas import DefinitionError
from sagaline.workers.shapes import Normalizer, Unreadable

LINE = {"sku": "A", "count": 2}


class Line(BaseModel):
    sku: str
    count: int


class Order(BaseModel):
    number: str
    currency: str
    lines: list[Line]


AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "no", "type": "string"},
        {"name": "skus", "type": {"type": "array", "items": "string"}},
    ],
}


def proto_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="initech.proto", package="initech", syntax="proto3")
    message = file.message_type.add(name="Order")
    for number, name in enumerate(("no", "sku"), start=1):
        message.field.add(name=name, number=number, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("initech.Order"))


PROTO = proto_class()


def suppliers() -> Normalizer[Order]:
    orders = Normalizer(Order, version=2)

    @orders.upcasts(from_version=1)
    def with_currency(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "currency": "EUR"}

    @orders.translates("application/json", when={"orderNo", "items"})
    def acme(body: dict[str, Any]) -> Order:
        lines = [Line(sku=each["id"], count=each["qty"]) for each in body["items"]]
        return Order(number=body["orderNo"], currency=body["cur"], lines=lines)

    @orders.translates("application/json", when=lambda body: body["kind"] == "order/globex")
    def globex(body: dict[str, Any]) -> dict[str, Any]:
        return {"number": body["no"], "currency": "USD", "lines": body["lines"]}

    @orders.translates("text/csv", when=("order", "sku", "count"), version=1, delimiter=";")
    def hooli(rows: list[dict[str, str]]) -> dict[str, Any]:
        return {
            "number": rows[0]["order"],
            "lines": [{"sku": row["sku"], "count": int(row["count"])} for row in rows],
        }

    @orders.translates("application/xml", when="{urn:umbrella}Order", version=1)
    def umbrella(root: Any) -> dict[str, Any]:
        lines = [{"sku": each.get("sku"), "count": int(each.text)} for each in root.findall("{urn:umbrella}line")]
        return {"number": root.get("no"), "lines": lines}

    @orders.translates("application/avro", schema=AVRO)
    def vehement(datum: dict[str, Any]) -> dict[str, Any]:
        return {
            "number": datum["no"],
            "currency": "CHF",
            "lines": [{"sku": sku, "count": 1} for sku in datum["skus"]],
        }

    @orders.translates("application/protobuf; message=initech.Order", message=PROTO)
    def initech(message: Any) -> Order:
        return Order(number=message.no, currency="SEK", lines=[Line(sku=message.sku, count=1)])

    return orders


def avro(number: str = "A-1", *skus: str) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), {"no": number, "skus": list(skus)})
    return out.getvalue()


ACME = b'{"orderNo": "A-1", "items": [{"id": "A", "qty": 2}], "cur": "EUR"}'
GLOBEX = b'{"kind": "order/globex", "no": "A-1", "lines": [{"sku": "A", "count": 2}]}'
HOOLI = b"order;sku;count\r\nA-1;A;2\r\n"
UMBRELLA = b'<?xml version="1.0"?><!-- a --><Order xmlns="urn:umbrella" no="A-1"><line sku="A">2</line></Order>'
KINDS = {
    "acme": ("application/json", ACME, "EUR"),
    "globex": ("application/json; charset=utf-8", GLOBEX, "USD"),
    "hooli": ("text/csv; charset=iso-8859-1", HOOLI, "EUR"),
    "umbrella": ("text/xml", UMBRELLA, "EUR"),
}


def typed(content_type: str) -> dict[str, bytes]:
    return {"content-type": content_type.encode()}


@pytest.mark.parametrize(("content_type", "value", "currency"), KINDS.values(), ids=KINDS)
def test_three_suppliers_formats_become_one_model(content_type: str, value: bytes, currency: str) -> None:
    expected = Order(number="A-1", currency=currency, lines=[Line(sku="A", count=2)])
    assert suppliers().read(value, typed(content_type)) == expected
    assert suppliers().read(value, {"Content-Type": content_type.upper().encode()}) == expected


@pytest.mark.parametrize(("content_type", "value", "currency"), KINDS.values(), ids=KINDS)
def test_without_a_content_type_the_shape_decides(content_type: str, value: bytes, currency: str) -> None:
    assert suppliers().read(value, {}).currency == currency


def test_binary_formats_are_chosen_by_their_content_type() -> None:
    orders = suppliers()
    found = orders.read(avro("A-1", "x", "y"), typed("avro/binary"))
    assert [line.sku for line in found.lines] == ["x", "y"]
    sent = typed("application/x-protobuf; message=initech.Order")
    assert orders.read(PROTO(no="A-1", sku="x").SerializeToString(), sent).currency == "SEK"
    with pytest.raises(Unreadable, match=r"message=other\.Order' is unknown here"):
        orders.read(b"", typed("application/x-protobuf; message=other.Order"))


def test_canonical_documents_of_every_version_are_read() -> None:
    orders = suppliers()
    new = Order(number="A-1", currency="USD", lines=[])
    assert orders.content_type == "application/vnd.order+json; version=2"
    assert orders.read(orders.write(new), typed(orders.content_type)) == new
    old = orders.read(b'{"number": "A-1", "lines": []}', typed("application/vnd.order+json; version=1"))
    assert old.currency == "EUR"


def deep(opening: bytes, closing: bytes) -> bytes:
    return opening * 100_000 + closing * 100_000


LAUGHS = b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><l x="&b;">&b;</l>'
EXTERNAL = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><Order xmlns="urn:umbrella">&a;</Order>'
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "billion laughs": ("text/xml", LAUGHS, "DOCTYPE"),
    "billion laughs in UTF-16": ("text/xml", LAUGHS.decode().encode("utf-16"), "DOCTYPE"),
    "external entity": ("text/xml", EXTERNAL, "DOCTYPE"),
    "external subset": ("text/xml", b'<!DOCTYPE l SYSTEM "http://127.0.0.1:1/l.dtd"><l/>', "DOCTYPE"),
    "unknown entity": ("text/xml", b"<l>&a;</l>", "it is no XML: Entity 'a' not defined"),
    "deep XML": ("text/xml", deep(b"<a>", b"</a>"), "it is no XML: .*depth"),
    "huge XML text": ("text/xml", b"<a>" + b"x" * 11_000_000 + b"</a>", "it is no XML"),
    "cut XML": ("text/xml", UMBRELLA[:-3], "it is no XML"),
    "XML in another encoding": ("text/xml", b"<a>\xe4</a>", "it is no XML"),
    "no XML at all": ("text/xml", b"", "it is no XML"),
    "XML of a lying charset": ("text/xml; charset=utf-16", UMBRELLA, "it is no XML"),
    "deep JSON": ("application/json", deep(b"[", b"]"), "it is no JSON: recursion limit"),
    "NaN": ("application/json", b'{"orderNo": NaN}', "it is no JSON"),
    "JSON in another encoding": ("application/json", "{}".encode("utf-16"), "it is no JSON: byte 0 is no utf-8"),
    "cut JSON": ("application/json", ACME[:-1], "it is no JSON"),
    "a list": ("application/json", b"[1]", "it has not the shape of 'acme'; it has not the shape of 'globex'"),
    "huge CSV field": ("text/csv", b"order;sku;count\n" + b"x" * 200_000, "line 2: field larger than field limit"),
    "open quote": ("text/csv", b'order;sku;count\n"a', "it is no CSV: line 2: unexpected end of data"),
    "too few fields": ("text/csv", b"order;sku;count\na;b\n", "line 2 has 2 fields for 3 columns"),
    "twice a column": ("text/csv", b"sku;sku\na;b\n", "must name every column, each once"),
    "empty CSV": ("text/csv", b"", "must name every column, each once"),
    "many rows": ("text/csv", b"sku\n" + b"a\n" * 100_001, "more than 100,000 rows"),
    "CSV in another encoding": ("text/csv", b"order;sku;count\n\xe4;b;1\n", "byte 16 is no utf-8"),
    "evil encoding": ("text/csv; charset=punycode", HOOLI, "its encoding 'punycode' is not known here"),
    "no encoding": ("text/csv; charset=base64", HOOLI, "its encoding 'base64' is not known here"),
    "other columns": ("text/csv", b"a;b\n1;2\n", "it has not the shape of 'hooli'"),
    "a wrong number": ("text/csv", b"order;sku;count\nA-1;A;two\n", "the translator 'hooli' failed: ValueError"),
    "no rows": ("text/csv", b"order;sku;count\n", "the translator 'hooli' failed: IndexError"),
    "cut Avro": ("application/avro", avro("A-1", "x")[:-1], "it is not of this Avro schema: EOFError"),
    "Avro with more": ("application/avro", avro("A-1", "x") + b"\0", "1 bytes follow"),
    "a long Avro string": ("application/avro", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not of this Avro schema"),
    "Avro of bytes that are no text": ("application/avro", b"\x04\xff\xff\x00", "UnicodeDecodeError"),
    "cut Protobuf": ("application/protobuf; message=initech.Order", b"\x0a\x09A", "it is no initech.Order"),
    "a wrong body": ("application/json", b'{"orderNo": 1, "items": [], "cur": "EUR"}', "'acme' refused it: number"),
    "a wrong document": (
        "application/json",
        b'{"kind": "order/globex", "no": 1, "lines": []}',
        "'globex' gives does not fit",
    ),
    "no content type": ("nonsense", b"", "is no content type"),
    "an unknown one": ("application/pdf", b"", "'application/pdf' is unknown here; known are .*text/csv"),
    "no version": ("application/vnd.order+json", b"{}", "names no version"),
    "a version of the future": ("application/vnd.order+json; version=3", b"{}", "of version 3, this process knows 2"),
    "a wrong version": ("application/vnd.order+json; version=x", b"{}", "names no version"),
    "an old document that does not fit": (
        "application/vnd.order+json; version=1",
        b'{"number": "A"}',
        "lines: the field is missing, add it",
    ),
    "a canonical list": ("application/vnd.order+json; version=2", b"[]", "it gives list, not a document"),
}


@pytest.mark.parametrize(("content_type", "value", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_unknown_message_is_a_typed_failure_with_a_reason(
    content_type: str, value: bytes, reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        suppliers().read(value, typed(content_type))


@pytest.mark.parametrize("value", [b"", b"\x00\xff\xfe", b"{}", b"<a/>", avro("A-1")])
def test_a_message_without_content_type_and_known_shape_is_refused(value: bytes) -> None:
    with pytest.raises(Unreadable, match="no translator takes it"):
        suppliers().read(value, {})


def test_every_prefix_of_a_message_is_read_or_refused() -> None:
    orders = suppliers()
    for content_type, value, _ in KINDS.values():
        for end in range(len(value)):
            try:
                orders.read(value[:end], typed(content_type))
            except Unreadable:
                pass


def test_a_message_of_two_shapes_is_never_guessed() -> None:
    orders = Normalizer(Order)
    orders.translates("application/json", when="a")(lambda body: {})
    orders.translates("application/json", when=["b"])(lambda body: {})
    with pytest.raises(Unreadable, match="make the shapes differ"):
        orders.read(b'{"a": 1, "b": 2}', {})


def test_a_translator_of_any_shape_takes_what_no_other_takes_and_needs_a_content_type() -> None:
    class Name(BaseModel):
        name: str

    names = Normalizer(Name)
    names.translates("application/json", when="a")(lambda body: {"name": "a"})
    names.translates("application/json")(lambda body: {"name": "any"})
    assert names.read(b'{"a": 1}', typed("application/json")).name == "a"
    assert names.read(b'{"b": 1}', typed("application/json")).name == "any"
    with pytest.raises(Unreadable, match="no translator takes it"):
        names.read(b'{"b": 1}', {})


def test_a_translators_model_is_validated_too() -> None:
    orders = Normalizer(Order)
    orders.translates("application/json")(lambda body: Order.model_construct(number=body))
    with pytest.raises(Unreadable, match="wrong"):
        orders.read(b"1", typed("application/json"))


def test_large_messages_are_refused() -> None:
    with pytest.raises(Unreadable, match="send it as a Blob"):
        suppliers().read(bytes(64 * 1024 * 1024 + 1), {})


def record(name: str, *types: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": t} for n, t in enumerate(types)]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    "schema",
    [
        record("L", ["null", "L"]),
        record("L", record("M", array(["null", "L"]))),
        record("L", {"type": "map", "values": "L"}),
    ],
)
def test_a_recursive_avro_schema_is_refused(schema: dict[str, Any]) -> None:
    """The library reads it without a limit of depth: a message of some kilobytes ends the process."""
    with pytest.raises(DefinitionError, match="holds itself"):
        Normalizer(Order).translates("application/avro", schema=schema)


@pytest.mark.parametrize(
    "items", ["null", record("E"), record("E", "null", record("F")), {"type": "fixed", "name": "Z", "size": 0}]
)
def test_an_avro_array_of_nothing_is_refused(items: Any) -> None:
    with pytest.raises(DefinitionError, match="take no bytes"):
        Normalizer(Order).translates("application/avro", schema=record("L", array(items)))


def test_avro_schemas_that_only_repeat_a_type_are_taken() -> None:
    class Pair(BaseModel):
        f0: dict[str, Any]
        f2: Decimal

    pairs = Normalizer(Pair)
    point = record("Point", "int", {"type": "enum", "name": "E", "symbols": ["A"]})
    money = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    schema = record("Pair", point, array("Point"), money, ["null", "Point"])
    pairs.translates("application/avro", schema=schema)(lambda datum: datum)
    out = io.BytesIO()
    datum = {"f0": {"f0": 1, "f1": "A"}, "f1": [{"f0": 2, "f1": "A"}], "f2": Decimal("1.50"), "f3": None}
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), datum)
    assert pairs.read(out.getvalue(), typed("application/avro")).f2 == Decimal("1.5")


async def asynchronous(body: object) -> Mapping[str, object]:
    return {}


MISTAKES: dict[str, tuple[Any, str]] = {
    "no model": (lambda: Normalizer(dict), "give a class derived from pydantic.BaseModel"),  # type: ignore[type-var]
    "no version": (lambda: Normalizer(Order, version=0), "version is 0"),
    "no name": (lambda: Normalizer(Order, name="A B"), "choose such a name"),
    "no content type": (lambda: Normalizer(Order).translates("json"), "not a content type"),
    "no text": (lambda: Normalizer(Order).translates(None), "not a content type"),  # type: ignore[arg-type]
    "no known format": (lambda: Normalizer(Order).translates("image/png"), "give JSON, CSV, XML, Avro or Protobuf"),
    "no schema": (lambda: Normalizer(Order).translates("application/avro"), "give schema"),
    "a schema": (lambda: Normalizer(Order).translates("text/csv", schema=AVRO), "remove schema"),
    "no Avro schema": (lambda: Normalizer(Order).translates("application/avro", schema={}), "no Avro schema"),
    "no message": (lambda: Normalizer(Order).translates("application/protobuf"), "give message"),
    "no class": (lambda: Normalizer(Order).translates("application/protobuf", message=Order), "protoc generated"),
    "two characters": (lambda: Normalizer(Order).translates("text/csv", delimiter="ab"), "give one character"),
    "no shape": (lambda: Normalizer(Order).translates("text/csv", when=1), "give names"),  # type: ignore[arg-type]
    "no upcaster": (lambda: Normalizer(Order, version=3).translates("text/csv", version=2), "declare it before"),
    "too new": (lambda: Normalizer(Order).translates("text/csv", version=2), "version is 2"),
    "nothing to upcast": (lambda: Normalizer(Order).upcasts(from_version=1), "raise its version first"),
    "upcast too new": (lambda: Normalizer(Order, version=2).upcasts(from_version=2), "from_version is 2"),
    "async": (lambda: Normalizer(Order).translates("text/csv")(asynchronous), "is async"),  # type: ignore[arg-type]
    "two parameters": (lambda: Normalizer(Order).translates("text/csv")(lambda a, b: {}), "one parameter"),  # type: ignore
}


@pytest.mark.parametrize(("declare", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_declaration_is_told_at_once(declare: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        declare()


def test_a_second_upcaster_is_refused() -> None:
    orders = suppliers()
    with pytest.raises(DefinitionError, match="remove one of the two"):
        orders.upcasts(from_version=1)(lambda document: document)


def test_a_missing_upcaster_is_told() -> None:
    with pytest.raises(Unreadable, match="no upcaster from 1"):
        Normalizer(Order, version=2).read(b"{}", typed("application/vnd.order+json; version=1"))


def test_only_the_model_is_written() -> None:
    with pytest.raises(TypeError, match="writes Order, not Line"):
        suppliers().write(Line(sku="A", count=1))  # type: ignore[arg-type]
