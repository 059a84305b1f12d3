"""What the read model port promises about dead letters; part of its behaviour suite."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from sagaline.orchestrator.errors import InvalidRequest
from sagaline.orchestrator.messages.dead import DeadRecord
from sagaline.orchestrator.messages.entities import DeadMark, DeadStatus
from sagaline.orchestrator.messages.parcels import to_base64
from sagaline.orchestrator.ports.read_model import LetterFilter, LetterGroup, LetterRow, ReadModel, Update

from .read_model_contract import STATE, helping, update

__all__ = ["LettersContract"]


def dead(offset: int, *, partition: int = 0, at_ms: int = 1_000, **more: Any) -> DeadRecord:
    given = {"topic": "t.inputs", "key": "QS0x", "reason": "boom", "value": "/w==", "headers": (("\x00", "/w=="),)}
    return DeadRecord(partition=partition, offset=offset, at_ms=at_ms, **given | more)


def dead_update(*records: DeadRecord, position: int = 1) -> Update:
    return update(position=position)._replace(letters=records)


class LettersContract:
    async def test_a_letter_comes_back_as_it_was_with_its_mark_whichever_came_first(
        self, read_model: ReadModel
    ) -> None:
        one, two = dead(7, key=None, value=None, reason="é\x00", topic=""), dead(8, code="failed", detail="line 7")
        marks = [DeadMark(id=each.id, status=DeadStatus.DISCARDED, by="ann") for each in (one, two)]
        await read_model.apply(helping(marks[0]))
        await read_model.apply(dead_update(one, two, position=2))
        await read_model.apply(helping(marks[1], sequence=3)._replace(positions={STATE: 3}))
        await read_model.apply(dead_update(one, position=4))
        assert await read_model.letter(0, 7) == LetterRow(one, marks[0])
        assert await read_model.letter(0, 8) == LetterRow(two, marks[1])
        assert await read_model.letter(1, 7) is None

    async def test_letters_are_found_by_what_a_filter_says_and_counted(self, read_model: ReadModel) -> None:
        records = [
            dead(0, at_ms=10, reason="no 100% Stock for 7"),
            dead(1, at_ms=20, reason="no 100% Stock for 9", key="Qg=="),
            dead(0, partition=1, at_ms=15, topic="t.commands.stock", key="/w=="),
        ]
        await read_model.apply(dead_update(*records))
        await read_model.apply(
            helping(DeadMark(id="@dead/0-1", status=DeadStatus.REDRIVEN))._replace(positions={STATE: 2})
        )
        for where, names in {
            LetterFilter(): ["0-1", "1-0", "0-0"],
            LetterFilter(topic="t.commands.stock"): ["1-0"],
            LetterFilter(key="B"): ["0-1"],
            LetterFilter(key="/w=="): ["1-0"],
            LetterFilter(reason="100% STOCK"): ["0-1", "0-0"],
            LetterFilter(reason="100_"): [],
            LetterFilter(since_ms=15, until_ms=20): ["1-0"],
            LetterFilter(state=DeadStatus.OPEN): ["1-0", "0-0"],
            LetterFilter(state=DeadStatus.REDRIVEN, fingerprint=records[0].fingerprint): ["0-1"],
        }.items():
            page = await read_model.letters(where, limit=9)
            assert [row.record.name for row in page.letters] == names, where
            assert await read_model.letter_count(where) == len(names)
        groups = await read_model.letter_groups(LetterFilter(), limit=9)
        assert groups.groups == [
            LetterGroup(records[2].fingerprint, 1, 1, 15, 15, "boom"),
            LetterGroup(records[0].fingerprint, 2, 1, 10, 20, "no 100% Stock for 9"),
        ]

    async def test_a_letter_with_a_key_and_a_topic_of_any_length_is_shown_and_found(
        self, read_model: ReadModel
    ) -> None:
        """Although an index holds some 2,700 bytes; what differs only at the end is not mixed up."""
        random_text = "".join(random.Random(7).choices(string.ascii_letters, k=4_000))
        texts = [text + end for text in (random_text, "\x00" * 4_000, "\U0001f600" * 400) for end in ("", "1", "2")]
        records = [dead(n, key=to_base64(text.encode()), topic=text) for n, text in enumerate(texts)]
        await read_model.apply(dead_update(*records))
        for text, record in zip(texts, records, strict=True):
            for where in LetterFilter(key=text), LetterFilter(topic=text):
                assert [row.record for row in (await read_model.letters(where, limit=9)).letters] == [record]

    @pytest.mark.parametrize("oldest_first", [False, True])
    async def test_letters_are_listed_page_by_page_although_more_come(
        self, read_model: ReadModel, oldest_first: bool
    ) -> None:
        records = [dead(n // 2, partition=n % 2, at_ms=n // 3) for n in range(7)]
        await read_model.apply(dead_update(*records))
        found: list[DeadRecord] = []
        cursor: str | None = None
        while cursor is not None or not found:
            page = await read_model.letters(LetterFilter(), limit=2, cursor=cursor, oldest_first=oldest_first)
            found += [row.record for row in page.letters]
            cursor = page.cursor
            await read_model.apply(dead_update(dead(90 + len(found), partition=0, at_ms=9), position=1 + len(found)))
        by_place = sorted(records, key=lambda each: (each.partition, each.offset))
        newest = sorted(records, key=lambda each: (each.at_ms, each.partition, each.offset), reverse=True)
        assert [each for each in found if each.offset < 90] == (by_place if oldest_first else newest)
        with pytest.raises(InvalidRequest):
            await read_model.letters(LetterFilter(), limit=2, cursor="x", oldest_first=oldest_first)

    async def test_groups_are_listed_page_by_page(self, read_model: ReadModel) -> None:
        await read_model.apply(dead_update(*(dead(n, at_ms=n // 2, reason="abcdefg"[n]) for n in range(7))))
        found: list[LetterGroup] = []
        cursor: str | None = None
        while cursor is not None or not found:
            page = await read_model.letter_groups(LetterFilter(), limit=3, cursor=cursor)
            found += page.groups
            cursor = page.cursor
        assert len({each.fingerprint for each in found}) == len(found) == 7
        assert [each.first_ms for each in found] == [3, 2, 2, 1, 1, 0, 0]

    async def test_clear_forgets_the_letters(self, read_model: ReadModel) -> None:
        await read_model.apply(dead_update(dead(0)))
        await read_model.clear()
        assert await read_model.letter_count(LetterFilter()) == 0
