"""The behaviour suite of the inbox port: every adapter passes it by a subclass that supplies four things.

``inbox`` and ``second_inbox`` are two connections to the same store (as from two processes); ``mark`` makes a statement
that writes a label, and is refused by the store when the label stands there already; ``marks`` reads the labels.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sagaline.workers.inbox import Applied, Effect, Found, Inbox, Statement, Verdict

__all__ = ["InboxContract", "effect"]


def effect(key: str = "order/A/charge", *statements: Statement, undo: bool = False, **more: object) -> Effect:
    fresh = Effect(
        effect_key=key,
        undo=undo,
        command_id=f"{key}/1",
        reply=b'{"undone":true}' if undo else b'{"charge":"C-1"}',
        statements=statements,
        at_ms=1_000,
    )
    return replace(fresh, **more)  # type: ignore[arg-type]  # the field's own type, as the caller wrote it


class InboxContract:
    @pytest.fixture
    def inbox(self) -> AsyncIterator[Inbox]:
        raise NotImplementedError("the binding supplies an inbox whose retention is one second")

    @pytest.fixture
    def second_inbox(self) -> AsyncIterator[Inbox]:
        raise NotImplementedError("the binding supplies a second connection to the same store")

    def mark(self, label: str) -> Statement:
        raise NotImplementedError

    async def marks(self) -> list[str]:
        raise NotImplementedError

    async def verdict(self, inbox: Inbox, wanted: Effect) -> Verdict:
        (applied,) = await inbox.apply([wanted])
        return applied.verdict

    async def test_nothing_is_found_before_anything_took_effect(self, inbox: Inbox) -> None:
        assert await inbox.find(["order/A/charge"]) == {}
        assert await inbox.find([]) == {}

    async def test_an_effect_is_stored_with_its_statements(self, inbox: Inbox, second_inbox: Inbox) -> None:
        wanted = effect("a", self.mark("charged"), self.mark("logged"))
        assert await inbox.apply([wanted]) == [Applied(Verdict.STORED)]
        assert await second_inbox.find(["a", "b"]) == {"a": Found(forward=wanted.reply)}
        assert await self.marks() == ["charged", "logged"]

    async def test_a_second_forward_gets_the_stored_reply_and_changes_nothing(self, inbox: Inbox) -> None:
        await inbox.apply([effect("a", self.mark("once"))])
        again = effect("a", self.mark("twice"), reply=b'{"charge":"C-2"}', command_id="a/2")
        assert await inbox.apply([again]) == [Applied(Verdict.REPEATED, b'{"charge":"C-1"}')]
        assert await self.marks() == ["once"]

    async def test_a_second_undo_gets_the_stored_reply_and_changes_nothing(self, inbox: Inbox) -> None:
        await inbox.apply([effect("a", self.mark("once"), undo=True)])
        again = effect("a", self.mark("twice"), undo=True, reply=b"{}")
        assert await inbox.apply([again]) == [Applied(Verdict.REPEATED, b'{"undone":true}')]
        assert await self.marks() == ["once"]

    async def test_an_undo_that_came_first_shuts_the_door_on_a_late_forward(self, inbox: Inbox) -> None:
        assert await self.verdict(inbox, effect("a", undo=True)) is Verdict.STORED
        assert await self.verdict(inbox, effect("a", self.mark("late"))) is Verdict.FENCED
        assert await self.marks() == []
        assert await inbox.find(["a"]) == {"a": Found(undo=b'{"undone":true}')}

    async def test_a_forward_that_was_undone_does_not_come_back(self, inbox: Inbox) -> None:
        await inbox.apply([effect("a"), effect("a", undo=True, forward_seen=True)])
        assert await self.verdict(inbox, effect("a", self.mark("again"))) is Verdict.FENCED
        assert await inbox.find(["a"]) == {"a": Found(b'{"charge":"C-1"}', b'{"undone":true}')}

    async def test_an_undo_that_did_not_know_its_forward_is_stale(self, inbox: Inbox) -> None:
        await inbox.apply([effect("a")])
        assert await self.verdict(inbox, effect("a", self.mark("blind"), undo=True)) is Verdict.STALE
        assert await self.marks() == []
        assert await self.verdict(inbox, effect("a", undo=True, forward_seen=True)) is Verdict.STORED

    async def test_an_undo_that_knew_a_forward_which_is_gone_is_stale(self, inbox: Inbox) -> None:
        assert await self.verdict(inbox, effect("a", undo=True, forward_seen=True)) is Verdict.STALE

    async def test_a_refused_statement_harms_its_own_effect_only(self, inbox: Inbox) -> None:
        first, third = effect("a", self.mark("taken")), effect("c", self.mark("free"))
        applied = await inbox.apply([first, effect("b", self.mark("half"), self.mark("taken")), third])
        assert [one.verdict for one in applied] == [Verdict.STORED, Verdict.FAILED, Verdict.STORED]
        assert applied[1].error
        assert await self.marks() == ["free", "taken"]
        assert set(await inbox.find(["a", "b", "c"])) == {"a", "c"}

    async def test_after_a_failure_another_attempt_may_take_effect(self, inbox: Inbox) -> None:
        await inbox.apply([effect("a", self.mark("taken"))])
        assert await self.verdict(inbox, effect("b", self.mark("taken"))) is Verdict.FAILED
        assert await self.verdict(inbox, effect("b", self.mark("own"))) is Verdict.STORED

    async def test_effects_of_one_call_see_each_other_in_order(self, inbox: Inbox) -> None:
        applied = await inbox.apply([effect("a"), effect("a"), effect("a", undo=True), effect("b", undo=True)])
        assert [one.verdict for one in applied] == [Verdict.STORED, Verdict.REPEATED, Verdict.STALE, Verdict.STORED]

    async def test_forward_and_undo_that_race_are_settled_by_the_store(self, inbox: Inbox, second_inbox: Inbox) -> None:
        keys = [f"order/{i}/charge" for i in range(40)]
        forwards = asyncio.gather(*(inbox.apply([effect(key, self.mark(key))]) for key in keys))
        undos = asyncio.gather(*(second_inbox.apply([effect(key, undo=True)]) for key in keys))
        found = list(zip(*await asyncio.gather(forwards, undos), strict=True))
        outcomes = {(forward[0].verdict, undo[0].verdict) for forward, undo in found}
        assert outcomes <= {(Verdict.STORED, Verdict.STALE), (Verdict.FENCED, Verdict.STORED)}
        won = [key for key, (forward, _) in zip(keys, found, strict=True) if forward[0].verdict is Verdict.STORED]
        assert await self.marks() == sorted(won)

    async def test_a_forward_that_two_workers_run_takes_effect_once(self, inbox: Inbox, second_inbox: Inbox) -> None:
        mine = [effect(f"k{i}", self.mark(f"first-{i}")) for i in range(30)]
        theirs = [effect(f"k{i}", self.mark(f"second-{i}")) for i in range(30)]
        await asyncio.gather(
            *(inbox.apply([one]) for one in mine), *(second_inbox.apply([one]) for one in reversed(theirs))
        )
        assert sorted(int(label.split("-")[1]) for label in await self.marks()) == list(range(30))

    async def test_many_keys_are_found_in_one_call(self, inbox: Inbox) -> None:
        await inbox.apply([effect(f"k{i}") for i in range(1_200)])
        assert len(await inbox.find([f"k{i}" for i in range(1_300)])) == 1_200

    async def test_entries_older_than_the_retention_are_forgotten_oldest_first(self, inbox: Inbox) -> None:
        await inbox.apply([effect(f"k{at}", at_ms=at) for at in (3_000, 1_000, 2_000, 9_500)])
        keys = ["k1000", "k2000", "k3000", "k9500"]
        assert await inbox.forget(10_000, limit=2) == 2
        assert set(await inbox.find(keys)) == {"k3000", "k9500"}
        assert await inbox.forget(10_000, limit=2) == 1
        assert await inbox.forget(10_000, limit=2) == 0
        assert set(await inbox.find(keys)) == {"k9500"}

    async def test_closing_twice_is_as_closing_once(self, inbox: Inbox) -> None:
        await inbox.apply([effect("a")])
        await inbox.close()
        await inbox.close()
