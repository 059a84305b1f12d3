"""A table of rules: the first rule whose conditions all hold decides, and a change is versioned."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from sagaline.orchestrator.kernel.table import check_rules
from sagaline.orchestrator.messages.entities import Table
from sagaline.orchestrator.messages.entity_messages import Lookup, Routed, Rule, SetRules
from sagaline.orchestrator.messages.inputs import JsonObject
from sagaline.orchestrator.messages.outputs import Answer, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode

from .kernel_entities import Told, told

ID = "@table/carriers/eu"
RULES = (
    Rule(when={"country": "DE", "kg": {"<": 30}}, to="post"),
    Rule(when={"country": {"in": ["DE", "FR"]}}, to="truck"),
    Rule(when={}, to="ship"),
)


def set_rules(*rules: Rule, version: int | None = None) -> SetRules:
    return SetRules(id="set", instance=ID, rules=rules, version=version, by="ann", reason="new carrier")


def lookup(facts: JsonObject) -> Lookup:
    return Lookup(id="ask", instance=ID, by="s/1", place="carrier", facts=facts)


def ruled() -> Told:
    table = Told()
    table.hear(set_rules(*RULES))
    return table


def test_rules_are_kept_with_who_set_them_when_and_why() -> None:
    answer = Told().hear(set_rules(*RULES), now_ms=70)
    table = Table(
        id=ID,
        name="carriers/eu",
        revision=1,
        version=1,
        rules=RULES,
        changed_ms=70,
        changed_by="ann",
        reason="new carrier",
    )
    assert answer == Answer(entity=table, outcome=Outcome.APPLIED, reason="version 1")


def test_other_rules_are_the_next_version_and_the_same_change_nothing() -> None:
    table = ruled()
    assert table.hear(set_rules(*RULES)) == Answer(
        entity=table.entity,
        outcome=Outcome.UNCHANGED,
        code=ReasonCode.NOTHING_TO_CHANGE,
        reason="these rules are set already",
    )
    answer = table.hear(set_rules(RULES[2]), now_ms=90)
    assert isinstance(answer.entity, Table)
    assert (answer.entity.version, answer.entity.revision, answer.entity.changed_ms) == (2, 2, 90)
    assert answer.reason == "version 2"


def test_no_rules_at_all_are_rules_too() -> None:
    """A table that was never set is at version 0, whatever its rules would be."""
    answer = Told().hear(set_rules())
    assert isinstance(answer.entity, Table)
    assert (answer.outcome, answer.entity.version) == (Outcome.APPLIED, 1)


def test_a_change_names_the_version_that_it_replaces_or_any() -> None:
    """Two who change it at once do not overwrite each other; refused, everything is as it was."""
    table = ruled()
    reason = "the table is at version 1, not 0; read the table again, then retry"
    assert table.hear(set_rules(RULES[2], version=0)) == Answer(
        entity=table.entity, outcome=Outcome.DENIED, code=ReasonCode.VERSION_DIFFERS, reason=reason
    )
    assert table.hear(set_rules(RULES[2], version=1)).outcome is Outcome.APPLIED
    first = Told().hear(set_rules(RULES[2], version=1))
    assert (first.entity, first.outcome) == (None, Outcome.DENIED)
    assert Told().hear(set_rules(RULES[2], version=0)).outcome is Outcome.APPLIED


def test_wrong_rules_are_refused_and_change_nothing() -> None:
    table = ruled()
    reason = "rule 1, fact 'kg': 'in' takes a list"
    assert table.hear(set_rules(Rule(when={"kg": {"in": 5}}, to="post"))) == Answer(
        entity=table.entity, outcome=Outcome.DENIED, code=ReasonCode.INVALID, reason=reason
    )


@pytest.mark.parametrize(
    ("when", "wrong"),
    [
        ({"kg": [1, 2]}, "rule 2, fact 'kg': give {'in': [...]} to compare with a list"),
        ({"kg": {}}, "rule 2, fact 'kg': give one of the operators ==, !=, <, <=, >, >=, in, not none"),
        ({"kg": {"~": 1}}, "rule 2, fact 'kg': give one of the operators ==, !=, <, <=, >, >=, in, not ~"),
        (
            {"kg": {"<": 1, ">": 0}},
            "rule 2, fact 'kg': give one of the operators ==, !=, <, <=, >, >=, in, not <, >",
        ),
        ({"ok": 1, "kg": {"in": "DE"}}, "rule 2, fact 'kg': 'in' takes a list"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(when: JsonObject, wrong: str) -> None:
    """With the number of the rule and the fact."""
    assert check_rules([Rule(when={"kg": 1}, to="a"), Rule(when=when, to="b")], ["a", "b"]) == wrong


def test_as_many_rules_as_the_limit_are_right_and_one_more_is_not() -> None:
    rule = Rule(when={"a": 1, "b": {"<=": 2}, "c": {"in": []}, "d": None}, to="x")
    assert check_rules([rule] * 1_000, ["x"]) is None
    assert check_rules([rule] * 1_001, ["x"]) == "there are 1,001 rules; give at most 1,000"


@pytest.mark.parametrize(
    ("facts", "to"),
    [
        ({"country": "DE", "kg": 29}, "post"),
        ({"country": "DE", "kg": 30}, "truck"),
        ({"country": "DE"}, "truck"),
        ({"country": "FR", "kg": 1}, "truck"),
        ({"country": "DE", "kg": "heavy"}, "truck"),
        ({"country": "US"}, "ship"),
        ({}, "ship"),
    ],
)
def test_the_first_rule_whose_conditions_all_hold_decides(facts: JsonObject, to: str) -> None:
    """A fact that is not given, or cannot be compared, does not match."""
    table = ruled()
    answer = table.hear(lookup(facts))
    assert told(answer) == [Routed(id="ask/answer", instance="s/1", place="carrier", to=to, version=1)]
    assert (answer.entity, answer.outcome) == (table.entity, Outcome.UNCHANGED)


def test_where_no_rule_holds_the_answer_is_none_with_the_version() -> None:
    """Version 0: there is no table."""
    table = Told()
    table.hear(set_rules(RULES[0]))
    nothing = Routed(id="ask/answer", instance="s/1", place="carrier", to=None, version=1)
    assert told(table.hear(lookup({"country": "US"}))) == [nothing]
    none = Told().hear(lookup({}))
    assert told(none) == [Routed(id="ask/answer", instance="s/1", place="carrier", to=None, version=0)]
    assert none.entity is None


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (5, True),
        (6, False),
        ({"==": 5}, True),
        ({"!=": 5}, False),
        ({"<": 5}, False),
        ({"<=": 5}, True),
        ({">": 5}, False),
        ({">=": 5}, True),
        ({"in": [4, 5]}, True),
        ({"in": [4]}, False),
        ({"<": "x"}, False),
    ],
)
def test_every_operator_compares_the_fact_with_the_value(wanted: JsonValue, holds: bool) -> None:
    table = Told()
    table.hear(set_rules(Rule(when={"n": wanted}, to="yes")))
    (routed,) = told(table.hear(lookup({"n": 5})))
    assert isinstance(routed, Routed)
    assert (routed.to == "yes") == holds
