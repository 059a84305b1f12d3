"""``Keys``: makes, rotates and revokes the keys of the API: the table ``access.keys``, without their secrets."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

from ..errors import InvalidRequest, RequestTaken, TransientError, UnknownKey
from ..messages.access import ADMINISTRATOR, KEYS_TABLE, OF_A_NAME_MAX, ApiKey, Role, keys_of, name_wrong, rule_of
from ..messages.entity_messages import Rule
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .recent import Recent
from .tables import Tables

__all__ = ["PREFIX", "Keys", "NewKey", "digest_of"]

PREFIX: Final = "sgl_"
"""By it, scanners of repositories and logs recognize a secret."""


class NewKey(NamedTuple):
    """A key, and its secret, which is shown once and kept nowhere."""

    key: ApiKey
    secret: str


def digest_of(secret: str) -> str:
    """What is kept of a secret: SHA-256, which suffices for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", errors="surrogatepass")).hexdigest()


def _check_apart(key: ApiKey, others: Sequence[ApiKey]) -> None:
    """A question is put to a name or a group: nobody's name is the group of others."""
    if (of := next((each.name for each in others if key.name in each.groups), None)) is not None:
        text = f"{key.name!r} is a group of the key {of!r}, whose questions it could answer; choose another name"
        raise InvalidRequest(text, field="name")
    names = {ADMINISTRATOR, *(each.name for each in others)}
    if (group := next((each for each in key.groups if each in names), None)) is not None:
        text = f"the group {group!r} is the name of somebody, whose questions it could answer; choose another group"
        raise InvalidRequest(text, field="groups")


def _check_first(keys: Sequence[ApiKey], made: ApiKey) -> None:
    """A request that is repeated makes no second secret, which would shorten the life of others."""
    if made.made_by and any(each.name == made.name and each.made_by == made.made_by for each in keys):
        raise RequestTaken(made.made_by, made.name)


class Keys:
    """The keys of a namespace. Every change is a version of the table, with who made it and why."""

    def __init__(self, parts: ClientParts, tables: Tables) -> None:
        self._parts, self._tables = parts, tables
        self._recent = Recent(parts, tables, KEYS_TABLE, keys_of)

    async def current(self) -> Sequence[ApiKey]:
        """The keys for the check of a request, expired ones included: as recent as ``Recent`` says.

        Raises:
            TransientError: they are not known.
        """
        try:
            return await self._recent.current()
        except TransientError as error:
            raise TransientError(f"{error}, or use a token of the settings") from error

    async def list(self) -> Sequence[ApiKey]:
        """All keys by name, expired ones included; those of this client's last change too.

        Raises:
            TransientError: the read model has not caught up yet, or does not answer.
        """
        found = keys_of((await self._tables.read(KEYS_TABLE)).rules)
        return sorted(found, key=lambda each: (each.name, each.created_ms))

    async def create(
        self,
        name: str,
        role: Role,
        *,
        groups: Sequence[str] = (),
        valid_for: timedelta | None = None,
        options: RequestOptions = PLAIN,
    ) -> NewKey:
        """Makes a key with a new secret.

        Args:
            name: who bears it; what that one does has this name in the history. 1 to 64 characters.
            role: what it permits.
            groups: those of the bearer; questions may be put to them.
            valid_for: how long it is valid; None: until it is revoked.
            options: who asks and why, and how long to wait.

        Raises:
            InvalidRequest: a name is malformed or in use; ``field`` says which.
            RequestTaken: it was made by a request of this id.
            TransientError: it is not known whether it was made: list the keys, and revoke it if it is there.
        """
        for field, given in (("name", name), *(("groups", each) for each in groups)):
            if (wrong := name_wrong(given)) is not None:
                raise InvalidRequest(wrong, field=field)
        made = self._made(name, role, tuple(dict.fromkeys(groups)), valid_for, options)

        def add(keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
            _check_first(keys, made.key)
            if name == ADMINISTRATOR or any(each.name == name for each in keys):
                text = f"the name {name!r} is in use; rotate or revoke that key, or choose another name"
                raise InvalidRequest(text, field="name")
            _check_apart(made.key, keys)
            return [*keys, made.key]

        await self._change(add, options)
        return made

    async def rotate(
        self,
        name: str,
        *,
        overlap: timedelta = timedelta(hours=24),
        valid_for: timedelta | None = None,
        options: RequestOptions = PLAIN,
    ) -> NewKey:
        """Gives a key a new secret; the old ones stay valid for ``overlap``, or until they end before.

        Args:
            name: of the key.
            overlap: how long they are valid beside it; zero: they end now.
            valid_for: how long the new secret is valid; None: until the key was to end anyway.
            options: as for ``create``.

        Raises:
            UnknownKey: there is no such key.
            InvalidRequest: it has expired, ``valid_for`` is no time, or five secrets of it are valid already.
            RequestTaken: it was done by a request of this id.
            TransientError: it is not known whether it was done; rotate it again.
        """
        newest = self._newest(await self.list(), name)
        if not newest.is_valid(self._parts.clock.now_ms()):
            text = f"the key {name!r} has expired and cannot be rotated; revoke it, and create another one"
            raise InvalidRequest(text, field="name")
        made = self._made(name, newest.role, newest.groups, valid_for, options)
        if valid_for is None:
            made = made._replace(key=replace(made.key, expires_ms=newest.expires_ms))
        ends_ms = made.key.created_ms + max(0, round(overlap.total_seconds() * 1000))

        def turn(keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
            self._newest(keys, name)
            _check_first(keys, made.key)
            old = (each.ending(ends_ms) for each in keys if each.name == name)
            kept = [each for each in old if each.is_valid(made.key.created_ms)]
            if len(kept) >= OF_A_NAME_MAX:
                text = f"{len(kept)} secrets of the key {name!r} are valid at once, and somebody may use any of them"
                text = (
                    f"{text}; rotate with an overlap of 0 seconds, which ends all of them now, or wait until one ends"
                )
                raise InvalidRequest(text, field="overlap_seconds")
            return [*(each for each in keys if each.name != name), *kept, made.key]

        await self._change(turn, options)
        return made

    async def revoke(self, name: str, options: RequestOptions = PLAIN) -> None:
        """Ends a key, and those that are in overlap with it.

        Raises:
            UnknownKey: there is no such key.
            TransientError: it is not known whether it was done; do it again.
        """

        def remove(keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
            self._newest(keys, name)
            return [each for each in keys if each.name != name]

        await self._change(remove, options)

    def _made(
        self, name: str, role: Role, groups: tuple[str, ...], valid_for: timedelta | None, options: RequestOptions
    ) -> NewKey:
        now_ms, secret = self._parts.clock.now_ms(), f"{PREFIX}{secrets.token_hex(32)}"
        if valid_for is not None and valid_for <= timedelta(0):
            raise InvalidRequest("the key would never be valid; give a longer time", field="valid_for")
        expires_ms = None if valid_for is None else now_ms + round(valid_for.total_seconds() * 1000)
        key = ApiKey(
            name=name,
            role=role,
            digest=digest_of(secret),
            groups=groups,
            created_ms=now_ms,
            created_by=options.by,
            expires_ms=expires_ms,
            made_by=options.request_id or "",
        )
        return NewKey(key, secret)

    @staticmethod
    def _newest(keys: Sequence[ApiKey], name: str) -> ApiKey:
        found = [each for each in keys if each.name == name]
        if not found:
            raise UnknownKey(name)
        return max(found, key=lambda each: each.created_ms)

    async def _change(self, change: Callable[[Sequence[ApiKey]], Sequence[ApiKey]], options: RequestOptions) -> None:
        def rules(before: Sequence[Rule]) -> Sequence[Rule]:
            return [rule_of(each) for each in change(keys_of(before))]

        await self._recent.change(rules, options)
