"""``saga rules``, ``saga locks`` and ``saga mailboxes`` against a real process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_cli_remote import SAGA, Process, saga

pytestmark = pytest.mark.slow

MODULE = """
from datetime import timedelta

from pydantic import BaseModel

from sagaline.sagas import Contract, Event, Saga, step
from sagaline.sagas.nodes import ask, expect, route, wait


class Parcel(BaseModel):
    weight_kg: int


class Booked(BaseModel):
    number: str = ""


class Paid(BaseModel):
    cents: int


class Loan(BaseModel):
    cents: int
    approval: Paid | None = None


def carrier(name):
    return step(Contract(f"book-{name}", Parcel, Booked, queue="carriers"), name=name)(lambda s: s)


by_truck = step(Contract("book-dock", Parcel, Booked, queue="carriers"), locks="dock:{weight_kg}", name="dock")
shipping = [
    Saga("shipping", Parcel, flow=[
        route("carriers", by=lambda s: {"weight_kg": s.weight_kg},
              to={"freight": carrier("freight"), "parcel": carrier("parcel")}, otherwise="parcel"),
    ]),
    Saga("dock", Parcel, flow=[by_truck(lambda s: s)]),
    Saga("loan", Loan, flow=[
        ask("approval", Paid, question=lambda s: f"Shall we lend {s.cents}?", who=lambda s: ["ann", "bob"],
            into="approval", due=timedelta(days=3)),
    ]),
    Saga("prepaid", Parcel, flow=[
        wait(expect(Event("paid", Paid), key=lambda s: str(s.weight_kg)), timeout=timedelta(days=1), name="payment"),
    ]),
]
"""
RULES = [{"when": {"weight_kg": {">": 30}}, "to": "freight"}, {"when": {}, "to": "parcel"}]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Engine and API in one process, with a token."""
    folder = tmp_path_factory.mktemp("shipping")
    (folder / "shipping.py").write_text(MODULE)
    (folder / "rules.json").write_text(json.dumps(RULES))
    command = [*SAGA, "run", "shipping:shipping", "--api", "--port", "0"]
    process = Process(folder, command)
    try:
        process.wait_for(r"answering at (http\S+);")
        yield process
    finally:
        process.end()


def told(up: Process, *arguments: str) -> Any:
    return json.loads(saga(up, *arguments, "--json"))


def test_rules_are_shown_set_and_set_again_from_what_was_shown(up: Process, tmp_path: Path) -> None:
    limits = saga(up, "rules", "show", "queue.limits")
    assert "queue.limits was never set: nothing is limited" in limits
    assert "branches" not in limits
    assert "carriers was never set: every router uses its otherwise branch" in saga(up, "rules", "show", "carriers")
    assert saga(up, "rules", "history", "carriers") == "the rules of carriers were never set\n"
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(RULES))
    given = ("--file", str(file), "--by", "ann", "--reason", "too heavy")
    assert saga(up, "rules", "set", "carriers", *given) == "carriers has new rules: version 1\n"
    assert saga(up, "rules", "set", "carriers", *given).endswith("it has these rules already: version 1\n")
    shown = saga(up, "rules", "show", "carriers")
    for part in ("carriers version 1, changed ", " by ann: too heavy", "weight_kg > 30", "always", "freight"):
        assert part in shown
    as_shown = told(up, "rules", "show", "carriers")
    as_shown["rules"].reverse()
    file.write_text(json.dumps(as_shown))
    assert told(up, "rules", "set", "carriers", "--file", str(file))["version"] == 2
    as_shown["rules"].reverse()
    file.write_text(json.dumps(as_shown))
    late = saga(up, "rules", "set", "carriers", "--file", str(file), code=1)
    assert "table 'carriers' is at version 2, not 1; read its rules again, then retry" in late
    history = saga(up, "rules", "history", "carriers")
    for part in ("ann", "too heavy", "applied: version 1", "unchanged: these rules are set already", "denied: "):
        assert part in history
    assert "freight, parcel" in saga(up, "rules", "list")


@pytest.mark.parametrize(
    ("content", "code", "part"),
    [
        ("[", 2, "rules.json is not JSON"),
        ("{}", 2, 'rules.json contains no rules; give a list such as [{"when": {"total": {">": 100}}, "to": "fast"}'),
        ('[{"when": {}, "to": "drone"}]', 1, "rule 1: no deployed definition has a branch 'drone'; there are: freight"),
        ('[{"when": {}}]', 1, "rules.0.to: the field is missing, add it"),
    ],
)
def test_wrong_rules_are_one_sentence(up: Process, tmp_path: Path, content: str, code: int, part: str) -> None:
    file = tmp_path / "rules.json"
    file.write_text(content)
    said = saga(up, "rules", "set", "carriers", "--file", str(file), code=code)
    assert part in said
    assert said.count("\n") == 1


def test_a_table_that_nobody_routes_by_is_one_sentence(up: Process) -> None:
    assert "there is no table 'none'; there are: carriers" in saga(up, "rules", "show", "none", code=1)


def shown(up: Process, part: str, *arguments: str) -> str:
    """What a command prints once the part is in it: what is shown follows by some milliseconds."""
    for _ in range(200):
        if part in (found := saga(up, *arguments)):
            return found
    raise AssertionError(f"{part} is not in:\n{found}")


def test_locks_are_listed_and_shown(up: Process) -> None:
    assert saga(up, "locks") == "no lock is held\n"
    assert saga(up, "locks", "--waiting") == "no lock has waiters\n"
    for key in ("1", "2"):
        saga(up, "start", "dock", "--key", key, "--input", '{"weight_kg": 5}')
    found = shown(up, "waits", "locks")
    for part in ("dock:5", "holds", "dock/1", "dock/2"):
        assert part in found
    assert "dock/2" in saga(up, "locks", "dock:5")
    assert saga(up, "locks", "dock:6") == "nothing holds dock:6\n"
    assert [each["name"] for each in told(up, "locks", "--waiting")["locks"]] == ["dock:5"]
    assert told(up, "locks", "--prefix", "other")["locks"] == []


def test_a_question_is_found_claimed_given_away_and_answered(up: Process) -> None:
    assert saga(up, "questions", "--who", "ann") == "no questions are open\n"
    saga(up, "start", "loan", "--key", "L-1", "--input", '{"cents": 900}')
    found = shown(up, "loan/L-1", "questions", "--who", "ann")
    for part in ("approval", "Shall we lend 900?", "ann, bob", "cents"):
        assert part in found
    step = ("loan/L-1", "approval")
    assert "has its question claimed" in saga(up, "claim", *step, "--by", "ann")
    assert "ann (claimed)" in saga(up, "questions")
    assert saga(up, "questions", "--who", "bob") == "no questions are open\n"
    assert "ann has claimed" in saga(up, "answer", *step, "--by", "bob", "--value", '{"cents": 1}', code=1)
    assert "has its question assigned" in saga(up, "assign", *step, "--by", "ann", "--value", '{"to": "eve"}')
    assert "the answer does not fit Paid" in saga(up, "answer", *step, "--by", "eve", "--value", "{}", code=1)
    assert "is answered: completed" in saga(up, "answer", *step, "--by", "eve", "--value", '{"cents": 1}')
    assert told(up, "questions")["questions"] == []


def test_mailboxes_are_listed_and_shown(up: Process) -> None:
    assert saga(up, "mailboxes") == "nothing waits for an event, and none is kept\n"
    saga(up, "start", "prepaid", "--key", "1", "--input", '{"weight_kg": 5}')
    assert "paid" in shown(up, "paid", "mailboxes", "--waiting")
    found = saga(up, "mailboxes", "paid", "5")
    assert "prepaid/1" in found
    assert "payment" in found
    assert saga(up, "mailboxes", "paid", "6") == "nothing waits for paid of 6, and none is kept\n"
    assert [each["key"] for each in told(up, "mailboxes", "paid")["mailboxes"]] == ["5"]
