"""Tokens of an identity provider (OpenID Connect, JWT): signed by one of its keys, for this API, and valid now.

Only signatures by key pairs are accepted, and each key only for the algorithms of its type: a token cannot choose. The
provider's keys are read when first needed, again every ten minutes, and when a token names a key that is not known, but
never more than once in half a minute: tokens with invented keys cause no requests.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import jwt
import structlog
from jwt.algorithms import has_crypto

from ..orchestrator.errors import ConfigurationError, TransientError
from ..orchestrator.messages.access import ADMINISTRATOR, Role
from ..orchestrator.messages.keys import character_wrong
from ..orchestrator.ports.clock import Clock
from .hosts import is_loopback
from .identity import Principal
from .problems import HttpProblem

__all__ = ["OidcSettings", "Provider", "read_jwks"]

_log = structlog.get_logger("sagaline.api")

_ALGORITHMS: Final = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
_BEST_FIRST: Final = (Role.ADMIN, Role.OPERATOR, Role.STARTER, Role.VIEWER, Role.WORKER)
_TOKEN_CHARS_MAX: Final = 16_384
_JWKS_BYTES_MAX: Final = 262_144
_GROUPS_MAX: Final = 200
_TEXT_CHARS_MAX: Final = 256
_TIME_MAX: Final = 10**11
_SKEW_SECONDS: Final = 60
_AGAIN_SECONDS: Final = 30.0
_FRESH_SECONDS: Final = 600.0
_FETCH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """``jwks``: URL (https) or file of the provider's keys. Claims are names, or paths such as ``realm_access.roles``.

    ``roles``: values of the role claim and the role that each gives; none: the names of the roles themselves.

    Raises:
        ConfigurationError: the URL is not https, or cryptography is not installed.
    """

    issuer: str
    audience: str
    jwks: str
    name_claim: str = "sub"
    role_claim: str = "roles"
    groups_claim: str = "groups"
    roles: Mapping[str, Role] = field(default_factory=lambda: {role.value: role for role in Role})

    def __post_init__(self) -> None:
        url = httpx.URL(self.jwks)
        if url.scheme == "http" and not is_loopback(url.host):
            raise ConfigurationError(f"the keys of the identity provider come from {self.jwks}; give an https address")
        if not has_crypto:
            raise ConfigurationError("tokens of an identity provider need cryptography: pip install 'sagaline[oidc]'")


class _Key(NamedTuple):
    """A key, and for what it may be used."""

    key: Any
    algorithms: list[str]


async def read_jwks(where: str) -> bytes:
    """The provider's keys, from a URL or a file.

    Raises:
        TransientError: they cannot be read now.
    """
    try:
        if not where.startswith(("https://", "http://")):
            return await asyncio.to_thread(Path(where.removeprefix("file://")).read_bytes)
        async with (
            asyncio.timeout(_FETCH_SECONDS),
            httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as http,
            http.stream("GET", where, headers={"Accept": "application/json"}) as answer,
        ):
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _JWKS_BYTES_MAX:
                    raise TransientError(f"{where} answered with more than {_JWKS_BYTES_MAX:,} bytes")
            if answer.status_code != httpx.codes.OK:
                raise TransientError(f"{where} answered {answer.status_code}")
            return body
    except (OSError, TimeoutError, httpx.HTTPError) as error:
        raise TransientError(f"{where} cannot be read: {type(error).__name__}") from error


class Provider:
    """Reads its tokens."""

    def __init__(
        self, settings: OidcSettings, clock: Clock, read: Callable[[str], Awaitable[bytes]] = read_jwks
    ) -> None:
        self._settings, self._clock, self._read = settings, clock, read
        self._keys: dict[str | None, _Key] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def identify(self, token: str) -> Principal:
        """Whose token this is.

        Raises:
            HttpProblem: ``unauthorized``: it is not valid here; ``not-permitted``: it gives no role.
            TransientError: the provider's keys cannot be read now.
        """
        claims = await self._claims(token)
        name, role = _named(_at(claims, self._settings.name_claim)), self._role(claims)
        if name is None:
            raise _refused(
                f"its claim {self._settings.name_claim!r} is no name of 1 to {_TEXT_CHARS_MAX} visible characters "
                f"other than {ADMINISTRATOR!r}; change it at the identity provider, or set SAGALINE_OIDC_NAME_CLAIM"
            )
        if role is None:
            known = ", ".join(sorted(self._settings.roles))
            text = f"the token of {name} gives no role here; its claim {self._settings.role_claim!r} must have: {known}"
            raise HttpProblem("not-permitted", text)
        named = map(_named, _listed(_at(claims, self._settings.groups_claim)))
        groups = [each for each in named if each is not None][:_GROUPS_MAX]
        return replace(Principal.of(name, role, "jwt", groups), until_ms=int(claims["exp"] * 1000))

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > _TOKEN_CHARS_MAX:
            raise _refused(f"it has more than {_TOKEN_CHARS_MAX:,} characters")
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=key.algorithms,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options=_OPTIONS,
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _refused(_REASONS.get(type(error), "its signature or form is not valid")) from error
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now_s = self._clock.now_ms() / 1000
        for claim in ("exp", "nbf", "iat"):
            if claim in claims and not _is_time(claims[claim]):
                raise _refused(f"its claim {claim!r} is not a number of seconds since 1970")
        if not now_s < claims["exp"] + _SKEW_SECONDS:
            raise _refused("it has expired; get another one")
        if not max(claims.get("nbf", 0), claims.get("iat", 0)) <= now_s + _SKEW_SECONDS:
            raise _refused("it is not valid yet; compare the clocks of this server and the identity provider")

    async def _key(self, kid: object) -> _Key:
        wanted = kid if isinstance(kid, str) else None
        now = self._clock.monotonic()
        if wanted not in self._keys or now - self._read_at > _FRESH_SECONDS:
            async with self._reading:
                if self._clock.monotonic() - self._tried_at > _AGAIN_SECONDS:
                    await self._refresh()
        if not self._keys:
            raise TransientError("the keys of the identity provider cannot be read now; try again, or use a key")
        if wanted not in self._keys:
            raise _refused("it names a key that the identity provider does not have")
        return self._keys[wanted]

    async def _refresh(self) -> None:
        """What cannot be read leaves the known keys in effect."""
        try:
            self._keys = _keys(await self._read(self._settings.jwks))
            self._read_at = self._clock.monotonic()
        except TransientError as error:
            _log.warning("oidc.unavailable", reason=str(error))
        finally:
            self._tried_at = self._clock.monotonic()

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        given = {self._settings.roles.get(each) for each in _listed(_at(claims, self._settings.role_claim))}
        return next((role for role in _BEST_FIRST if role in given), None)


_OPTIONS: Final[Any] = {"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
"""Times are checked by the clock that is given."""
_REASONS: Final[Mapping[type[Exception], str]] = {
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.InvalidAlgorithmError: "its algorithm does not fit the key",
    jwt.MissingRequiredClaimError: "it lacks exp, iss or aud",
}


def _refused(why: str) -> HttpProblem:
    return HttpProblem("unauthorized", f"the token of the identity provider is not accepted: {why}")


def _keys(body: bytes) -> dict[str | None, _Key]:
    """The keys by id, and the only one also without one. Secrets, and keys for encryption, are left out."""
    try:
        listed = json.loads(body)["keys"]
        wanted = [each for each in listed if each.get("kty") in _ALGORITHMS and each.get("use", "sig") == "sig"]
        found: dict[str | None, _Key] = {}
        for each in wanted:
            try:
                found[each.get("kid")] = _Key(jwt.PyJWK(each).key, _algorithms(each))
            except jwt.PyJWTError:
                continue  # one of a kind that is not known here; others may be
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TransientError("the keys of the identity provider are not a JWK set") from error
    if not found:
        raise TransientError("the identity provider has no key that signs")
    return {None: next(iter(found.values())), **found} if len(found) == 1 else found


def _algorithms(jwk: Mapping[str, Any]) -> list[str]:
    """Those of the key's type; of a key that names its algorithm only that one."""
    return [each for each in _ALGORITHMS[jwk["kty"]] if jwk.get("alg", each) == each]


def _at(claims: Mapping[str, Any], path: str) -> object:
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _listed(value: object) -> list[str]:
    values = value if isinstance(value, list) else value.split() if isinstance(value, str) else []
    return [each for each in values if isinstance(each, str)]


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _TIME_MAX


def _named(value: object) -> str | None:
    """The name of a person or a group, in one spelling; None: it is none, or looks like another one or like ours."""
    if not isinstance(value, str):
        return None
    name = unicodedata.normalize("NFC", value)
    is_text = 0 < len(name) <= _TEXT_CHARS_MAX and character_wrong(name) is None and name == name.strip()
    hidden = any(unicodedata.category(each) == "Cf" for each in name)
    reserved = unicodedata.normalize("NFKC", name).casefold() == ADMINISTRATOR
    return name if is_text and not hidden and not reserved else None
