"""Who may do what: the roles of an identity, and the keys of the API in the table ``access.keys``, one in each rule.

``when`` names the owner and the digest of the secret, ``to`` is the role. The secret itself is nowhere. A key that is
rotated has several rules for a while: the old ones, which expire, and the new one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from .entity_messages import Rule
from .values import JsonObject

__all__ = [
    "ADMINISTRATOR",
    "KEYS_TABLE",
    "OF_A_NAME_MAX",
    "ApiKey",
    "Role",
    "check_keys",
    "keys_of",
    "name_wrong",
    "rule_of",
]

KEYS_TABLE: Final = "access.keys"
ADMINISTRATOR: Final = "administrator"
"""The name of those who have a token of the settings; no key bears it."""
_KEYS_MAX: Final = 500
_GROUPS_MAX: Final = 20
OF_A_NAME_MAX: Final = 5
"""Secrets of one key that are valid at once, while it is rotated."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.@_-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = {"name", "digest", "groups", "created_ms", "created_by", "expires_ms", "made_by"}


class Role(StrEnum):
    """What an identity is for; each is a set of permissions."""

    VIEWER = "viewer"
    STARTER = "starter"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key. ``digest``: SHA-256 of its secret, in hexadecimal. ``expires_ms`` None: never. ``made_by``: the id of the
    request that made the secret; empty: it had none.
    """

    name: str
    role: Role
    digest: str
    groups: tuple[str, ...]
    created_ms: int
    created_by: str
    expires_ms: int | None
    made_by: str = ""

    def ending(self, at_ms: int) -> ApiKey:
        """Valid until then at most."""
        return replace(self, expires_ms=at_ms if self.expires_ms is None else min(self.expires_ms, at_ms))

    def is_valid(self, now_ms: int) -> bool:
        """True until it expires."""
        return self.expires_ms is None or now_ms < self.expires_ms


def name_wrong(name: str) -> str | None:
    """What is wrong with the name of a person, a program or a group; None: it is valid."""
    if _NAME.fullmatch(name) is None:
        return f"{name[:64]!r} is no name; give 1 to 64 of letters, digits, '.', '@', '_' and '-', no sign first"
    return None


def check_keys(rules: Sequence[Rule]) -> str | None:
    """What is wrong with them, and how to fix it; None: they are valid."""
    if len(rules) > _KEYS_MAX:
        return f"there are {len(rules):,} keys; revoke some: at most {_KEYS_MAX:,} can be kept"
    keys: list[ApiKey] = []
    for number, rule in enumerate(rules, start=1):
        if isinstance(found := _read(rule), str):
            return f"key {number}: {found}"
        keys.append(found)
    if len({each.digest for each in keys}) < len(keys):
        return "two keys have the same digest; make another secret"
    name, count = max(Counter(each.name for each in keys).items(), key=lambda each: each[1], default=("", 0))
    if count > OF_A_NAME_MAX:
        return f"{name!r} has {count} secrets; at most {OF_A_NAME_MAX} are valid at once, while it is rotated"
    return None


def keys_of(rules: Sequence[Rule]) -> tuple[ApiKey, ...]:
    """The keys of a table, without those that a newer release has written and this one cannot read."""
    return tuple(found for found in map(_read, rules) if isinstance(found, ApiKey))


def rule_of(key: ApiKey) -> Rule:
    """A key as it is kept."""
    when: JsonObject = {
        "name": key.name,
        "digest": key.digest,
        "created_ms": key.created_ms,
        "created_by": key.created_by,
    }
    if key.groups:
        when["groups"] = list(key.groups)
    if key.expires_ms is not None:
        when["expires_ms"] = key.expires_ms
    if key.made_by:
        when["made_by"] = key.made_by
    return Rule(when=when, to=key.role.value)


def _read(rule: Rule) -> ApiKey | str:
    if rule.to not in list(Role):
        return f"there is no role {rule.to!r}; there are {', '.join(Role)}"
    if unknown := sorted(rule.when.keys() - _FIELDS):
        return f"{', '.join(unknown)} is unknown"
    name, digest, groups = rule.when.get("name"), rule.when.get("digest"), rule.when.get("groups", [])
    created_ms, created_by = rule.when.get("created_ms"), rule.when.get("created_by")
    expires_ms, made_by = rule.when.get("expires_ms"), rule.when.get("made_by", "")
    if not isinstance(name, str) or name == ADMINISTRATOR:
        return f"{name!r} is not the name of a key; {ADMINISTRATOR!r} is that of the tokens of the settings"
    if (wrong := name_wrong(name)) is not None:
        return wrong
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        return "the digest is not SHA-256 in hexadecimal"
    if not isinstance(groups, list) or len(groups) > _GROUPS_MAX or not all(isinstance(each, str) for each in groups):
        return f"its groups are no list of at most {_GROUPS_MAX} names"
    if wrong_group := next((wrong for each in groups if (wrong := name_wrong(str(each))) is not None), None):
        return wrong_group
    if type(created_ms) is not int or not isinstance(created_by, str) or not isinstance(made_by, str):
        return "it does not say who created it, when, and by which request"
    if expires_ms is not None and type(expires_ms) is not int:
        return "expires_ms is not a whole number of milliseconds"
    return ApiKey(
        name=name,
        role=Role(rule.to),
        digest=digest,
        groups=tuple(map(str, groups)),
        created_ms=created_ms,
        created_by=created_by,
        expires_ms=expires_ms,
        made_by=made_by,
    )
