"""Named things that users register, such as webhooks: rules of a table of ours, one rule for each thing.

``to`` holds one field of it; ``when`` has the others, without those that are as by default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from ...sagas.contract import is_name
from .entity_messages import Rule
from .values import JsonObject, first_mistake

__all__ = ["Named", "NamedRules", "Secret"]


class Named(Protocol):
    """A thing of a table; ``name``: lower-case letters, digits and hyphens."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What has a secret, which is stored nowhere: it is derived from a key of the settings, the name and
    ``generation``, so rotating it counts one up.

    ``rotated_by``: the id of the request that made this generation; empty: it had none.
    ``overlap_until_ms``: until then all secrets since ``overlap_from`` count too.
    """

    name: str
    generation: int = 1
    rotated_by: str = ""
    overlap_from: int = 0
    overlap_until_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRules(Generic[N]):
    """How one kind of thing is kept.

    ``to``: the field that ``Rule.to`` holds. ``hint``: which fields users give. ``wrong``: what is wrong with one
    beside its name and types, and how to fix it. ``more``: what to do when there are ``most``.
    """

    table: str
    noun: str
    kind: type[N]
    to: str
    most: int
    more: str
    hint: str
    wrong: Callable[[N], str | None]

    def rule(self, thing: N) -> Rule:
        """How it is kept."""
        found: JsonObject = TypeAdapter(self.kind).dump_python(thing, mode="json", exclude_defaults=True)
        to = found.pop(self.to)
        return Rule(when=found, to=str(to))

    def check(self, rules: Sequence[Rule]) -> str | None:
        """What is wrong with them, and how to fix it; None: they are valid.

        What a newer release has written is nobody's mistake: of a rule that cannot be read only the name counts.
        """
        if len(rules) > self.most:
            return f"there are {len(rules):,} {self.noun}s; keep at most {self.most:,}, {self.more}"
        names = set[str]()
        for number, rule in enumerate(rules, start=1):
            name = rule.when.get("name")
            if not isinstance(name, str):
                return f"{self.noun} {number} has no name; give it one of lower-case letters, digits and hyphens"
            if name in names:
                return f"{self.noun} {number} has the name {name!r} of another one; choose another"
            names.add(name)
        return None

    def check_one(self, thing: N) -> str | None:
        """What is wrong with one that is put here, and how to fix it; None: it is valid."""
        found = self._read(self.rule(thing))
        return found if isinstance(found, str) else None

    def of(self, rules: Sequence[Rule]) -> tuple[N, ...]:
        """The things of a table, without rules that a newer release has written and this one cannot read."""
        return tuple(found for found in map(self._read, rules) if not isinstance(found, str))

    def replaced(self, rules: Sequence[Rule], name: str, thing: N | None) -> list[Rule]:
        """The rules with ``thing`` in place of the one of that name; None: without it. All others stay, also those
        that a newer release has written.
        """
        left = [each for each in rules if each.when.get("name") != name]
        return left if thing is None else [*left, self.rule(thing)]

    def _read(self, rule: Rule) -> N | str:
        known = {field.name for field in fields(self.kind)} - {self.to}  # type: ignore[arg-type]  # a dataclass
        if unknown := sorted(rule.when.keys() - known):
            return f"{', '.join(unknown)} is unknown; give {self.hint}"
        try:
            found = TypeAdapter(self.kind).validate_python({**rule.when, self.to: rule.to})
        except ValidationError as error:
            return ": ".join(first_mistake(error))
        if not is_name(found.name):
            return f"{found.name!r} is no name; use lower-case letters, digits and hyphens, as in 'billing'"
        if isinstance(found, Secret) and found.generation < 1:
            return f"generation is {found.generation}; it counts from 1"
        return self.wrong(found) or found
