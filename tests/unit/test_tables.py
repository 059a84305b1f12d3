"""Tables of rules: what a rule says, what rules are refused, and which version routes whom."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.kernel import Registry, decide_entity
from sagaline.orchestrator.messages.entities import Entity, Table
from sagaline.orchestrator.messages.entity_messages import Lookup, Routed, Rule, SetRules, table_id
from sagaline.orchestrator.messages.inputs import Arrival
from sagaline.orchestrator.messages.outputs import Answer, Outcome, Tell
from sagaline.orchestrator.messages.values import JsonObject
from sagaline.sagas import Saga
from sagaline.sagas.nodes import Node, route, sleep
from tests.unit.kernel_nodes import HOUR, Talk

BRANCHES = ("fast", "slow")
AT, OPERATORS = "rule 2, fact 'a': ", "give one of the operators ==, !=, <, <=, >, >=, in, not "
FAST, SLOW = Rule(when={"total": {">": 100}}, to="fast"), Rule(when={}, to="slow")


def change(entity: Entity | None, *rules: Rule, version: int | None = None, by: str = "ann") -> Answer:
    message = SetRules(id="r", instance=table_id("ways"), rules=rules, version=version, by=by, reason="why")
    return decide_entity(entity, Arrival(message=message, now_ms=7), branches=BRANCHES)


def routed(entity: Entity | None, **facts: object) -> tuple[str | None, int]:
    """The branch and the version of the rules that say it."""
    given: JsonObject = facts  # type: ignore[assignment]  # JSON, as the caller writes it
    message = Lookup(id="l", instance=table_id("ways"), by="a/1", place="route", facts=given)
    answer = decide_entity(entity, Arrival(message=message, now_ms=8))
    assert answer.entity is entity
    (told,) = answer.actions
    assert isinstance(told, Tell)
    assert isinstance(told.message, Routed)
    return told.message.to, told.message.version


def test_a_change_of_rules_is_a_version_with_who_why_and_when() -> None:
    first = change(None, FAST)
    assert first.entity == Table(
        id="@table/ways", name="ways", revision=1, version=1, rules=(FAST,), changed_ms=7, changed_by="ann",
        reason="why",
    )  # fmt: skip
    assert (first.outcome, first.reason) == (Outcome.APPLIED, "version 1")
    second = change(first.entity, FAST, SLOW, by="bob", version=1)
    assert isinstance(second.entity, Table)
    assert (second.entity.version, second.entity.changed_by) == (2, "bob")


def test_a_change_of_another_version_than_the_one_that_stands_is_refused() -> None:
    """Nobody overwrites what he has not seen."""
    first = change(None, FAST)
    refused = change(first.entity, SLOW, version=0)
    assert (refused.outcome, refused.entity) == (Outcome.DENIED, first.entity)
    assert refused.reason == "the table is at version 1, not 0; read the table again, then retry"


def test_rules_that_stand_already_change_nothing_even_when_they_are_sent_again() -> None:
    """A client whose answer was lost repeats its request with the version that it has seen."""
    first = change(None, FAST, version=0)
    again = change(first.entity, FAST, version=0)
    assert (again.outcome, again.entity, again.reason) == (
        Outcome.UNCHANGED,
        first.entity,
        "these rules are set already",
    )


@pytest.mark.parametrize(
    ("when", "facts", "matches"),
    [
        ({}, {}, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": {"!=": 1}}, {"a": 2}, True),
        ({"a": {"!=": 1}}, {}, False),
        ({"a": {"<": 2}}, {"a": 1}, True),
        ({"a": {"<": 2}}, {"a": 2}, False),
        ({"a": {"<=": 2}}, {"a": 2}, True),
        ({"a": {">": 2}}, {"a": 2}, False),
        ({"a": {">=": 2}}, {"a": 2}, True),
        ({"a": {"==": "x"}}, {"a": "x"}, True),
        ({"a": {"in": ["x", "y"]}}, {"a": "y"}, True),
        ({"a": {"in": []}}, {"a": "y"}, False),
        ({"a": {"<": 2}}, {"a": "text"}, False),
        ({"a": {"<": 2}}, {"a": None}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
    ],
)
def test_a_rule_holds_when_all_its_conditions_do(when: JsonObject, facts: JsonObject, matches: bool) -> None:
    """A fact that is not given, or cannot be compared, does not match."""
    table = change(None, Rule(when=when, to="fast")).entity
    assert routed(table, **facts) == ("fast" if matches else None, 1)


def test_the_first_rule_that_holds_decides() -> None:
    table = change(None, FAST, SLOW).entity
    assert routed(table, total=101) == ("fast", 1)
    assert routed(table, total=100) == ("slow", 1)


def test_a_table_that_nobody_has_set_says_nothing() -> None:
    assert routed(None, total=101) == (None, 0)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule(when={"a": {"~": 1}}, to="fast"), f"{AT}{OPERATORS}~"),
        (Rule(when={"a": {}}, to="fast"), f"{AT}{OPERATORS}none"),
        (Rule(when={"a": {"<": 1, ">": 0}}, to="fast"), f"{AT}{OPERATORS}<, >"),
        (Rule(when={"a": [1]}, to="fast"), AT + "give {'in': [...]} to compare with a list"),
        (Rule(when={"a": {"in": 1}}, to="fast"), f"{AT}'in' takes a list"),
        (Rule(when={}, to="express"), "rule 2: no deployed definition has a branch 'express'; there are: fast, slow"),
    ],
)  # fmt: skip
def test_rules_that_could_never_work_are_refused_and_the_old_ones_stand(rule: Rule, reason: str) -> None:
    before = change(None, SLOW).entity
    refused = change(before, FAST, rule)
    assert (refused.outcome, refused.reason, refused.entity) == (Outcome.DENIED, reason, before)


def test_a_table_has_a_bounded_number_of_rules() -> None:
    refused = change(None, *[SLOW] * 1_001)
    assert (refused.outcome, refused.reason) == (Outcome.DENIED, "there are 1,001 rules; give at most 1,000")


def test_a_table_that_no_deployed_definition_routes_by_takes_no_rules() -> None:
    message = SetRules(id="r", instance=table_id("ways"), rules=(SLOW,))
    refused = decide_entity(None, Arrival(message=message, now_ms=7))
    assert (refused.outcome, refused.entity) == (Outcome.DENIED, None)
    assert refused.reason == "rule 1: no deployed definition has a branch 'slow'; no definition uses this table"


def test_a_registry_knows_the_branches_of_every_table() -> None:
    """Those of all versions and flows that route by it, inside other nodes too."""

    def routing(name: str, table: str, *branches: str, version: int = 1) -> Saga[Talk]:
        to: Mapping[str, Node[BaseModel]] = {each: sleep(f"s-{each}", HOUR) for each in branches}
        return Saga(name, Talk, version=version, flow=[route(table, by=lambda s: {}, to=to, otherwise=None)])

    registry = Registry(
        [routing("a", "ways", "x", "y"), routing("a", "ways", "x", "z", version=2), routing("b", "others", "q")]
    )
    assert registry.tables == {"others": ("q",), "ways": ("x", "y", "z")}
