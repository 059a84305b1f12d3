"""``Keys``: makes, rotates and revokes the keys of the API: the table ``access.keys``, without their secrets."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from ..errors import InvalidRequest, TransientError, UnknownKey
from ..messages.access import ADMINISTRATOR, KEYS_TABLE, ApiKey, Role, keys_of, name_wrong, rule_of
from ..messages.entity_messages import Rule
from .options import PLAIN, RequestOptions
from .parts import ClientParts
from .tables import Tables

__all__ = ["PREFIX", "Keys", "NewKey", "digest_of"]

PREFIX: Final = "sgl_"
"""By it, scanners of repositories and logs recognize a secret."""
_log = structlog.get_logger("sagaline.client")

_FRESH_SECONDS = 0.25
_STALE_SECONDS = 60.0


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


class Keys:
    """The keys of a namespace. Every change is a version of the table, with who made it and why."""

    def __init__(self, parts: ClientParts, tables: Tables) -> None:
        self._parts, self._tables = parts, tables
        self._reading = asyncio.Lock()
        self._known: Sequence[ApiKey] = ()
        self._version = 0
        self._read_at = self._tried_at = float("-inf")

    async def current(self) -> Sequence[ApiKey]:
        """The keys for the check of a request, expired ones included: at most a quarter of a second old.

        While the read model does not answer, or does not follow the log, those that were known last, for up to a
        minute. A change by this client holds at once.

        Raises:
            TransientError: they are not known.
        """
        clock = self._parts.clock
        async with self._reading:
            if clock.monotonic() - self._tried_at >= _FRESH_SECONDS:
                began = clock.monotonic()
                try:
                    table = await self._tables.read(KEYS_TABLE)
                    if table.version >= self._version:
                        self._know(keys_of(table.rules), table.version)
                        self._read_at = min(began, self._parts.projector.followed_at)
                except TransientError as error:
                    _log.warning("keys.unavailable", reason=str(error))
                self._tried_at = clock.monotonic()
        if clock.monotonic() - self._read_at > _STALE_SECONDS:
            text = "the keys of the API cannot be read now: the read model does not answer, or does not follow the log"
            raise TransientError(f"{text}; try again, or use a token of the settings")
        return self._known

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
            TransientError: it is not known whether it was made: list the keys, and revoke it if it is there.
        """
        for field, given in (("name", name), *(("groups", each) for each in groups)):
            if (wrong := name_wrong(given)) is not None:
                raise InvalidRequest(wrong, field=field)
        made = self._made(name, role, tuple(dict.fromkeys(groups)), valid_for, options.by)

        def add(keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
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
        """Gives a key a new secret; the old one stays valid for ``overlap``. One that was still in overlap ends now.

        Args:
            name: of the key.
            overlap: how long both are valid; zero: the old one ends now.
            valid_for: how long the new secret is valid; None: until the key was to end anyway.
            options: as for ``create``.

        Raises:
            UnknownKey: there is no such key.
            InvalidRequest: it has expired, or ``valid_for`` is no time.
            TransientError: it is not known whether it was done; rotate it again.
        """
        newest = self._newest(await self.list(), name)
        if not newest.is_valid(self._parts.clock.now_ms()):
            text = f"the key {name!r} has expired and cannot be rotated; revoke it, and create another one"
            raise InvalidRequest(text, field="name")
        made = self._made(name, newest.role, newest.groups, valid_for, options.by)
        if valid_for is None:
            made = made._replace(key=replace(made.key, expires_ms=newest.expires_ms))
        ends_ms = made.key.created_ms + max(0, round(overlap.total_seconds() * 1000))

        def turn(keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
            old = self._newest(keys, name)
            old = replace(old, expires_ms=ends_ms if old.expires_ms is None else min(old.expires_ms, ends_ms))
            kept = [old] if old.is_valid(made.key.created_ms) else []
            return [*(each for each in keys if each.name != name), *kept, made.key]

        await self._change(turn, options)
        return made

    async def revoke(self, name: str, options: RequestOptions = PLAIN) -> None:
        """Ends a key, and one that is in overlap with it.

        Raises:
            UnknownKey: there is no such key.
            TransientError: it is not known whether it was done; do it again.
        """

        def remove(keys: Sequence[ApiKey]) -> Sequence[ApiKey]:
            self._newest(keys, name)
            return [each for each in keys if each.name != name]

        await self._change(remove, options)

    def _made(self, name: str, role: Role, groups: tuple[str, ...], valid_for: timedelta | None, by: str) -> NewKey:
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
            created_by=by,
            expires_ms=expires_ms,
        )
        return NewKey(key, secret)

    @staticmethod
    def _newest(keys: Sequence[ApiKey], name: str) -> ApiKey:
        found = [each for each in keys if each.name == name]
        if not found:
            raise UnknownKey(name)
        return max(found, key=lambda each: each.created_ms)

    async def _change(self, change: Callable[[Sequence[ApiKey]], Sequence[ApiKey]], options: RequestOptions) -> None:
        changed: Sequence[ApiKey] = ()

        def rules(before: Sequence[Rule]) -> Sequence[Rule]:
            nonlocal changed
            changed = change(keys_of(before))
            return [rule_of(each) for each in changed]

        done = await self._tables.change(KEYS_TABLE, rules, options)
        if done.version > self._version:
            self._know(changed, done.version)

    def _know(self, keys: Sequence[ApiKey], version: int) -> None:
        self._known, self._version = keys, version
