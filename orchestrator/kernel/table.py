"""A table of rules for dynamic routers: the first rule whose conditions all hold names the branch.

A condition is a value that the fact must equal, or ``{operator: value}`` with one of ``OPERATORS``. A missing fact, or
one that cannot be compared, does not match. The rules of Sagaline's own tables mean something else; their changes are
announced to the processes that follow them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from ..messages.entities import Table
from ..messages.entity_messages import Lookup, Routed, Rule, SetRules, ToTable, table_name
from ..messages.outputs import Action, Announce, Answer, Erase, Outcome, Tell
from ..messages.own_tables import OWN_TABLES
from ..messages.personal import ERASED_TABLE, erased_of, records_of
from ..messages.reasons import ReasonCode
from ..messages.values import JsonObject

__all__ = ["OPERATORS", "check_rules", "decide_table"]

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda fact, values: fact in values,
}

_RULES_MAX = 1_000


def check_rules(rules: Sequence[Rule], branches: Collection[str]) -> str | None:
    """What is wrong with the rules, and how to fix it; None: they are valid.

    Args:
        rules: in their order.
        branches: those of all deployed definitions that use the table.
    """
    if len(rules) > _RULES_MAX:
        return f"there are {len(rules):,} rules; give at most {_RULES_MAX:,}"
    for number, rule in enumerate(rules, start=1):
        if rule.to not in branches:
            known = f"there are: {', '.join(sorted(branches))}" if branches else "no definition uses this table"
            return f"rule {number}: no deployed definition has a branch {rule.to!r}; {known}"
        for fact, wanted in rule.when.items():
            if (wrong := _condition(wanted)) is not None:
                return f"rule {number}, fact {fact!r}: {wrong}"
    return None


def _condition(wanted: object) -> str | None:
    if isinstance(wanted, list):
        return "give {'in': [...]} to compare with a list"
    if not isinstance(wanted, dict):
        return None
    if len(wanted) != 1 or next(iter(wanted)) not in OPERATORS:
        return f"give one of the operators {', '.join(OPERATORS)}, not {', '.join(wanted) or 'none'}"
    return "'in' takes a list" if "in" in wanted and not isinstance(wanted["in"], list) else None


def decide_table(table: Table | None, message: ToTable, now_ms: int, branches: Collection[str]) -> Answer:
    """Decides what a table does with a message. ``branches``: those of all deployed definitions that use it."""
    match message:
        case Lookup():
            to = next((rule.to for rule in table.rules if _matches(rule, message.facts)), None) if table else None
            routed = Routed(
                id=f"{message.id}/answer",
                instance=message.by,
                place=message.place,
                to=to,
                version=table.version if table else 0,
            )
            return Answer(
                entity=table, outcome=Outcome.UNCHANGED, actions=(Tell(message=routed),), code=ReasonCode.ANSWERED
            )
        case SetRules():
            return _set(table, message, now_ms, branches)
        case _:
            assert_never(message)


def _set(table: Table | None, message: SetRules, now_ms: int, branches: Collection[str]) -> Answer:
    """Sets the rules. Rules that are set already are never denied, whatever the version: a request may be repeated.

    An erasure is done again each time: a key may have come back.
    """
    before = table or Table(id=message.instance, name=table_name(message.instance))
    if table is not None and table.rules == message.rules and before.name != ERASED_TABLE:
        code = ReasonCode.NOTHING_TO_CHANGE
        return Answer(entity=table, outcome=Outcome.UNCHANGED, code=code, reason="these rules are set already")
    if message.version is not None and message.version != before.version:
        reason = f"the table is at version {before.version}, not {message.version}; read the table again, then retry"
        return Answer(entity=table, outcome=Outcome.DENIED, code=ReasonCode.VERSION_DIFFERS, reason=reason)
    own = OWN_TABLES.get(before.name)
    wrong = own(message.rules) if own is not None else check_rules(message.rules, branches)
    if wrong is not None:
        return Answer(entity=table, outcome=Outcome.DENIED, code=ReasonCode.INVALID, reason=wrong)
    after = replace(
        before,
        revision=before.revision + 1,
        version=before.version + 1,
        rules=message.rules,
        changed_ms=now_ms,
        changed_by=message.by,
        reason=message.reason,
    )
    actions, reason = _told(after) if own is not None else ((), "")
    return Answer(entity=after, outcome=Outcome.APPLIED, actions=actions, reason=reason or f"version {after.version}")


def _told(own: Table) -> tuple[tuple[Action, ...], str]:
    """What a change of one of Sagaline's own tables does, and what it is called; empty: by its version."""
    if own.name != ERASED_TABLE:
        return (Announce(table=own.name, version=own.version, rules=own.rules),), ""
    subject, keys = erased_of(own.rules)
    number = f"{len(keys):,} {'key' if len(keys) == 1 else 'keys'}"
    records = [each for key in keys for each in records_of(key)]
    return tuple(Erase(subject=subject, key=each) for each in records), f"the data of {subject!r} are erased: {number}"


def _matches(rule: Rule, facts: JsonObject) -> bool:
    return all(fact in facts and _holds(facts[fact], wanted) for fact, wanted in rule.when.items())


def _holds(fact: object, wanted: object) -> bool:
    name, value = next(iter(wanted.items())) if isinstance(wanted, dict) else ("==", wanted)
    try:
        return bool(OPERATORS[name](fact, value))
    except TypeError:
        return False
