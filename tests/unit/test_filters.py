"""Filters on headers: what each dialect takes, and which expressions are refused at declaration."""

from __future__ import annotations

from typing import Any

import pytest

from sagaline.sagas import DefinitionError, Event
from sagaline.workers import Worker
from sagaline.workers.filters import takes_of

from ..worker_world import Pack

HEADERS = {
    "ce_type": b"com.example.order.paid",
    "ce_source": b"/shop/1",
    "ce_subject": "Bücher".encode(),
    "ce_region": b"eu-1",
    "content-type": b"application/json",
    "region": b"us",
}
TRUE: dict[str, Any] = {"exact": {"region": "eu-1"}}
FALSE: dict[str, Any] = {"exact": {"region": "us"}}


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ({"exact": {"type": "com.example.order.paid"}}, True),
        ({"exact": {"type": "com.example.order"}}, False),
        ({"exact": {"type": "COM.example.order.paid"}}, False),
        ({"exact": {"region": "us"}}, False),
        ({"exact": {"tenant": "a"}}, False),
        ({"exact": {"subject": "Bücher"}}, True),
        ({"exact": {"datacontenttype": "application/json"}}, True),
        ({"prefix": {"type": "com.example.", "source": "/shop/"}}, True),
        ({"prefix": {"type": "com.example.", "source": "/stock/"}}, False),
        ({"suffix": {"type": ".paid"}}, True),
        ({"suffix": {"type": ".cancelled"}}, False),
        ({"not": FALSE}, True),
        ({"not": {"exact": {"tenant": "a"}}}, True),
        ({"not": TRUE}, False),
        ({"all": [TRUE, TRUE]}, True),
        ({"all": [TRUE, FALSE]}, False),
        ({"any": [FALSE, TRUE]}, True),
        ({"any": [FALSE, FALSE]}, False),
        ({"all": [{"any": [FALSE, TRUE]}, {"not": {"all": [TRUE, FALSE]}}]}, True),
    ],
)
def test_an_expression_takes_what_the_specification_says(expression: dict[str, Any], taken: bool) -> None:
    assert takes_of("where", expression)(HEADERS) is taken


@pytest.mark.parametrize(
    ("expression", "remedy"),
    [
        ({}, "give a function, or a dict with one of the keys exact, prefix"),
        ({"exact": {"type": "a"}, "prefix": {"type": "a"}}, "with one of the keys"),
        ("type = 'a'", "give a function, or a dict"),
        ({"sql": "type = 'a'"}, r"where\.sql: there is no such dialect; use one of exact"),
        ({"exact": {}}, r"where\.exact is \{\}; give a dict of attributes and texts"),
        ({"exact": "type"}, "give a dict of attributes and texts"),
        ({"prefix": {"ce_type": "a"}}, "leave out ce_"),
        ({"prefix": {"type": ""}}, r"where\.prefix\.type is ''; give a text"),
        ({"prefix": {"type": 3}}, "give a text"),
        ({"all": []}, "give a list of one or more expressions"),
        ({"any": "abc"}, "give a list of one or more expressions"),
        ({"any": [TRUE, {"not": [TRUE]}]}, r"where\.any\[1\]\.not is \["),
    ],
)
def test_what_is_no_expression_is_refused_at_declaration(expression: Any, remedy: str) -> None:
    with pytest.raises(DefinitionError, match=remedy):

        @Worker("w").subscribes(Event("packed", Pack), where=expression)
        async def handle(body: Pack) -> None: ...
