"""Tokens of an identity provider: what is accepted, what is refused and how it is said, and when its keys are read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sagaline.api import ApiSettings
from sagaline.api.oidc import OidcSettings, Provider
from sagaline.api.problems import HttpProblem
from sagaline.orchestrator.errors import ConfigurationError, TransientError
from sagaline.orchestrator.messages.access import Role

from .stack import stack
from .test_api_instances import http
from .test_api_problems import told

NOW = 1_800_000_000
KEY, OTHER = rsa.generate_private_key(65_537, 2048), ec.generate_private_key(ec.SECP256R1())
SETTINGS = OidcSettings(issuer="https://id.example", audience="sagaline", jwks="https://id.example/jwks")
CLAIMS = {"iss": "https://id.example", "aud": "sagaline", "sub": "ann@shop", "exp": NOW + 300, "roles": ["operator"]}


class Clock:
    """Stands still until it is moved."""

    seconds = 0.0

    def now_ms(self) -> int:
        return round((NOW + self.seconds) * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def new_id(self) -> str:
        return "id"

    async def reach(self, at_ms: int) -> None: ...


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


class Idp:
    """An identity provider that counts how often its keys are read."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys, self.reads, self.clock = list(keys), 0, Clock()

    async def read(self, where: str) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        if not self.keys:
            raise TransientError("away")
        return json.dumps({"keys": self.keys}).encode()

    def provider(self, settings: OidcSettings = SETTINGS) -> Provider:
        return Provider(settings, self.clock, self.read)


def token(key: Any = KEY, kid: str | None = "a", algorithm: str = "RS256", **claims: Any) -> str:
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm, headers={"kid": kid} if kid else None)


def coded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def confused() -> str:
    """HS256, signed with the public key as if it were a shared secret."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{coded({'alg': 'HS256', 'kid': 'a'})}.{coded(CLAIMS)}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, text.encode(), hashlib.sha256)).rstrip(b"=").decode()
    return f"{text}.{mac}"


async def test_its_claims_give_name_role_and_groups() -> None:
    idp = Idp(jwk(KEY, "a"), jwk(OTHER, "b"))
    found = await idp.provider().identify(token(groups=["risk", "/desk", 7], roles=["viewer", "admin", "?"]))
    assert (found.name, found.role, found.groups, found.how) == ("ann@shop", Role.ADMIN, {"risk", "/desk"}, "jwt")
    assert (await idp.provider().identify(token(OTHER, "b", "ES256"))).role is Role.OPERATOR
    composed = await idp.provider().identify(token(sub="Andre\u0301", groups=["administrator", "risk\u200b"]))
    assert (composed.name, composed.groups) == ("Andr\u00e9", set())


async def test_claims_may_have_other_names_and_roles_other_values() -> None:
    settings = OidcSettings(
        issuer="https://id.example",
        audience="sagaline",
        jwks="file",
        name_claim="email",
        role_claim="realm_access.roles",
        roles={"saga-admins": Role.ADMIN},
    )
    found = (
        await Idp(jwk(KEY, "a"))
        .provider(settings)
        .identify(token(email="ann@shop.example", realm_access={"roles": ["saga-admins"]}))
    )
    assert (found.name, found.role) == ("ann@shop.example", Role.ADMIN)


HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "no algorithm": (lambda: f"{coded({'alg': 'none', 'kid': 'a'})}.{coded(CLAIMS)}.", "algorithm"),
    "the public key as a secret": (confused, "algorithm"),
    "an algorithm that the key does not name": (lambda: token(algorithm="RS512"), "algorithm"),
    "another key": (lambda: token(rsa.generate_private_key(65_537, 2048)), "signature or form"),
    "an unknown key": (lambda: token(kid="z"), "a key that the identity provider does not have"),
    "no key": (lambda: token(kid=None), "a key that the identity provider does not have"),
    "expired": (lambda: token(exp=NOW - 61), "expired"),
    "without an end": (lambda: token(exp=None), "lacks exp"),
    "an end that is no number": (lambda: token(exp=True), "not a number"),
    "an end without end": (lambda: token(exp=float("inf")), "not a number"),
    "an end after all time": (lambda: token(exp=1e308), "not a number"),
    "an end of hundreds of digits": (lambda: token(exp=10**400), "not a number"),
    "not valid yet": (lambda: token(nbf=NOW + 61), "not valid yet"),
    "another audience": (lambda: token(aud="shop"), "another audience"),
    "no audience": (lambda: token(aud=None), "lacks exp, iss or aud"),
    "another issuer": (lambda: token(iss="https://evil.example"), "another issuer"),
    "no name": (lambda: token(sub=None), "is no name"),
    "the name of the settings": (lambda: token(sub="administrator"), "is no name"),
    "a control character": (lambda: token(sub="ann\n"), "is no name"),
    "a look-alike of the name of the settings": (lambda: token(sub="Administrator"), "is no name"),
    "another one": (lambda: token(sub="\uff41dministrator"), "is no name"),
    "a character that is not seen": (lambda: token(sub="ann\u200d"), "is no name"),
    "a blank before the name": (lambda: token(sub=" ann"), "is no name"),
    "a blank after the name": (lambda: token(sub="ann\u00a0"), "is no name"),
    "huge": (lambda: token(more="x" * 20_000), "more than 16,384"),
    "nested": (lambda: f"{coded({'alg': 'RS256', 'kid': 'a'})}.{'[' * 9_000}.x", "signature or form"),
    "encrypted": (lambda: "a.b.c.d.e", "signature or form"),
    "cut": (lambda: token()[:-9], "signature or form"),
    "other claims": (
        lambda: ".".join([token().split(".")[0], coded(CLAIMS), token().split(".")[2]]),
        "signature or form",
    ),
    "a key of its own": (
        lambda: jwt.encode(CLAIMS, OTHER, "ES256", headers={"kid": "a", "jwk": jwk(OTHER, "a")}),
        "algorithm",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_token_that_is_not_valid_here_is_refused_with_the_reason(case: str) -> None:
    made, why = HOSTILE[case]
    text = made()
    idp = Idp(jwk(KEY, "a", alg="RS256"), jwk(OTHER, "b"), {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"})
    with pytest.raises(HttpProblem, match=why) as refused:
        await idp.provider().identify(text)
    assert refused.value.kind == "unauthorized"
    assert text[:20] not in str(refused.value)


async def test_clocks_may_differ_by_a_minute() -> None:
    provider = Idp(jwk(KEY, "a")).provider()
    assert (await provider.identify(token(exp=NOW - 59, nbf=NOW + 59))).name == "ann@shop"


async def test_a_token_without_a_role_is_not_permitted() -> None:
    with pytest.raises(HttpProblem, match="gives no role here; its claim 'roles' must have: admin") as refused:
        await Idp(jwk(KEY, "a")).provider().identify(token(roles="guest"))
    assert refused.value.kind == "not-permitted"


async def test_a_new_key_is_found_and_invented_ones_cause_no_requests() -> None:
    idp = Idp(jwk(KEY, "a"))
    provider = idp.provider()
    await asyncio.gather(*[provider.identify(token()) for _ in range(20)])
    assert idp.reads == 1
    for kid in ("x", "y", "z"):
        with pytest.raises(HttpProblem):
            await provider.identify(token(kid=kid))
    assert idp.reads == 1
    idp.keys, idp.clock.seconds = [jwk(OTHER, "b")], 31
    assert (await provider.identify(token(OTHER, "b", "ES256"))).name == "ann@shop"
    assert idp.reads == 2
    with pytest.raises(HttpProblem, match="does not have"):
        await provider.identify(token())


async def test_while_the_provider_is_away_its_known_keys_hold() -> None:
    idp = Idp()
    provider = idp.provider()
    with pytest.raises(TransientError, match="cannot be read now"):
        await provider.identify(token())
    idp.keys, idp.clock.seconds = [jwk(KEY, "a")], 31
    await provider.identify(token())
    idp.keys, idp.clock.seconds = [], 1_000
    assert (await provider.identify(token(exp=NOW + 2_000))).name == "ann@shop"
    assert idp.reads == 3


def test_keys_over_plain_http_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="https"):
        OidcSettings(issuer="x", audience="y", jwks="http://id.example/jwks")
    with pytest.raises(ConfigurationError, match="SAGALINE_SESSION_KEY"):
        ApiSettings(oidc=SETTINGS)


async def test_it_is_accepted_over_http_and_signs_in(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(KEY, "a")]}))
    oidc = OidcSettings(issuer="https://id.example", audience="sagaline", jwks=str(file))
    settings = ApiSettings(oidc=oidc, session_key="a-session-key-of-enough-length")
    ann = token(exp=NOW * 2, roles="viewer")
    async with stack(tmp_path, engine=False) as up, http(up, settings) as api:
        told(await api.get("/v1/me"), 401, "unauthorized")
        me = (await api.get("/v1/me", headers={"authorization": f"Bearer {ann}"})).json()
        assert (me["name"], me["role"]) == ("ann@shop", "viewer")
        assert (await api.post("/v1/login", json={"key": ann})).status_code == 200
        assert (await api.get("/v1/me")).json()["name"] == "ann@shop"
        without = ApiSettings(tokens=("a-token-of-enough-length",), session_key=settings.session_key)
        async with http(
            up, without, headers={"cookie": f"sagaline_session={api.cookies['sagaline_session']}"}
        ) as later:
            assert "sign in with a key" in told(await later.get("/v1/me"), 401, "unauthorized")["detail"]
