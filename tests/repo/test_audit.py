"""The audit of dependencies counts nothing as well that it could not look up."""

from __future__ import annotations

import json

import pytest

from .audit import KNOWN, verdict

CLEAN = json.dumps({"dependencies": [{"name": "httpx", "version": "1.0", "vulns": []}]})
BAD = json.dumps({"dependencies": [{"name": "httpx", "version": "1.0", "vulns": [{"id": "PYSEC-1"}]}]})
SOURCE = ["jinja2 2.10: PYSEC-2019-217"]


@pytest.mark.parametrize(
    ("known", "asked", "well", "said"),
    [
        ([], (0, CLEAN, ""), False, f"no source reached: none knows an advisory about {KNOWN}"),
        ([], (0, BAD, ""), False, "no source reached"),
        (SOURCE, (0, CLEAN, ""), True, "no known advisory"),
        (SOURCE, (1, BAD, ""), False, "httpx 1.0: PYSEC-1"),
        (SOURCE, (1, "", "x\nconnection refused"), False, "nothing was checked: connection refused"),
        (SOURCE, (1, "", ""), False, "nothing was checked"),
    ],
)
def test_only_a_source_that_answers_can_say_that_all_is_well(
    known: list[str], asked: tuple[int, str, str], well: bool, said: str
) -> None:
    assert verdict(known, asked)[0] is well
    assert said in verdict(known, asked)[1]
