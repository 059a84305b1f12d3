"""Web Push without a receiver: the RFC's own example, what is sealed, and what a message says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sagaline.orchestrator.codec.webhook_deliveries import delivery
from sagaline.orchestrator.errors import ConfigurationError, InvalidRequest
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.instance_events import EventType, InstanceEvent
from sagaline.orchestrator.messages.own_tables import OWN_TABLES
from sagaline.orchestrator.messages.pushes import PUSHES, PushSubscription, push_name
from sagaline.orchestrator.push import PushKey
from sagaline.orchestrator.push.encryption import BODY_BYTES_MAX, MESSAGE_BYTES_MAX, encrypted
from sagaline.orchestrator.push.key import Endpoint
from sagaline.workers.webhooks.courier import RETRY
from sagaline.workers.webhooks.receivers import LIVES, _topic
from tests.push_kit import CURVE, Browser, b64, claims_of, opened, public_of, unb64

NOW_MS = 1_800_000_000_000
CONTACT = "mailto:ops@example.com"
SUBSCRIPTION = PushSubscription(name="p1", sealed="x", host="push.example.net", created=1)
EVENT = InstanceEvent(
    partition=1,
    offset=7,
    instance="order-checkout/A-1",
    type=EventType.ATTENTION,
    at_ms=NOW_MS,
    status=Status.ATTENTION,
    before=Status.RUNNING,
    revision=3,
    code="failed",
    reason="no card for ann@example.org",
    by="ann",
)


def private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(unb64(text)), CURVE)


def test_the_example_of_rfc_8291_is_made_and_read_byte_for_byte() -> None:
    """Appendix A, with its keys and its salt."""
    browser, auth = private("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), unb64("BTBZMqHH6r4Tts7J_aSIgg")
    message = b"When I grow up, I want to be a watermelon"
    body = encrypted(
        message,
        public_of(browser),
        auth,
        private=private("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
        salt=unb64("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert b64(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert opened(body, browser, auth) == message


def test_the_longest_message_fills_a_body_and_a_longer_one_is_none() -> None:
    browser = Browser("https://push.example.net/1")
    bodies = [encrypted(b"x" * MESSAGE_BYTES_MAX, public_of(browser.private), browser.auth) for _ in range(2)]
    assert {len(each) for each in bodies} == {BODY_BYTES_MAX}
    assert bodies[0][:86] != bodies[1][:86], "each has a key and a salt of its own"
    with pytest.raises(ValueError, match=r"at most 3,993"):
        encrypted(b"x" * (MESSAGE_BYTES_MAX + 1), public_of(browser.private), browser.auth)


@pytest.mark.parametrize("key", ["k" * 256, "ü" * 256, "\U0001f600" * 256, "/%\x7f" * 85])
def test_every_message_fits_and_says_nothing_of_the_contents(key: str) -> None:
    event = replace(EVENT, instance=f"order-checkout/{key}")
    _, value, headers = delivery(SUBSCRIPTION, event, "t", 1)
    assert len(value) <= MESSAGE_BYTES_MAX
    assert set(json.loads(value)) == {"id", "kind", "instance", "status", "at_ms", "url"}
    assert "ann" not in value.decode()
    assert headers["webhook"] == "push:p1"
    fits = len(event.instance.encode()) <= 800
    assert json.loads(value)["url"] == (f"/#/instances/order-checkout/{quote(key, safe='')}" if fits else "/")
    assert json.loads(value)["instance"] == (event.instance if fits else "order-checkout/…")


def test_a_push_is_tried_until_it_is_too_old_to_be_sent() -> None:
    waits_ms = sum(RETRY.delay_ms(attempt) for attempt in range(1, RETRY.max_attempts))
    assert timedelta(days=1) < LIVES < timedelta(milliseconds=waits_ms)


def test_what_a_browser_gives_is_sealed_for_its_name_and_by_this_key_alone() -> None:
    key, browser = PushKey(PushKey.make(), CONTACT), Browser("https://push.example.net/canary-endpoint")
    name, keys = push_name(browser.endpoint), browser.subscription()["keys"]
    sealed = key.seal(name, browser.endpoint, keys["p256dh"], keys["auth"])
    assert key.seal(name, browser.endpoint, keys["p256dh"] + "=", keys["auth"] + "==") == sealed
    found = key.open(name, sealed)
    assert found is not None
    assert (found.url, found.p256dh, found.auth) == (browser.endpoint, public_of(browser.private), browser.auth)
    assert "canary" not in repr(found)
    assert key.open("p2", sealed) is None
    assert key.open(name, sealed[:-4] + "AAAA") is None
    assert key.open(name, "no") is None
    assert PushKey(PushKey.make(), CONTACT).open(name, sealed) is None


def test_a_request_is_signed_for_its_push_service() -> None:
    made = PushKey.make()
    key, browser = PushKey(f"{made}\n", CONTACT), Browser("https://push.example.net:8443/1?a=b")
    name, keys = push_name(browser.endpoint), browser.subscription()["keys"]
    endpoint = key.open(name, key.seal(name, browser.endpoint, keys["p256dh"], keys["auth"]))
    assert endpoint is not None
    url, body, headers = key.request(endpoint, b'{"a": 1}', {"ttl": "60"}, NOW_MS)
    claims, public = claims_of(headers["authorization"])
    assert claims == {"aud": "https://push.example.net:8443", "exp": NOW_MS // 1000 + 43_200, "sub": CONTACT}
    assert public == key.public == b64(public_of(private(made)))
    assert (url, headers["content-encoding"], headers["ttl"]) == (browser.endpoint, "aes128gcm", "60")
    assert browser.read(body) == {"a": 1}
    assert made not in repr(vars(key))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://PUSH.Example.net/1", "https://push.example.net"),
        ("https://push.example.net:443/1", "https://push.example.net"),
        ("https://push.example.net:0443/1", "https://push.example.net"),
        ("https://push.example.net:08443", "https://push.example.net:8443"),
    ],
)
def test_the_audience_is_the_origin_as_a_push_service_writes_it(url: str, origin: str) -> None:
    browser = Browser(url)
    endpoint = Endpoint(url=url, p256dh=public_of(browser.private), auth=browser.auth)
    headers = PushKey(PushKey.make(), CONTACT).request(endpoint, b"{}", {}, NOW_MS).headers
    assert claims_of(headers["authorization"])[0]["aud"] == origin


def test_a_topic_tells_instances_apart_and_says_nothing_to_a_push_service() -> None:
    made = [_topic(instance, secret) for instance in ("d/A", "d/B") for secret in (b"one", b"two")]
    assert {len(each) for each in made} == {32}
    assert len(set(made)) == 4
    assert _topic("d/A", b"one") == made[0]


@pytest.mark.parametrize("given", ["", "k" * 43, "A" * 43, b64(b"\xff" * 32), b64(b"1" * 31), "not base64!", "ü"])
def test_a_key_that_is_none_is_refused_without_saying_it(given: str) -> None:
    if given == "k" * 43:
        PushKey(given, CONTACT)
        return
    with pytest.raises(ConfigurationError, match="make one with: saga push key") as refused:
        PushKey(given, CONTACT)
    assert not given or given not in str(refused.value)


@pytest.mark.parametrize("contact", ["", "ops@example.com", "http://example.com", "mailto:"])
def test_a_contact_is_an_address_or_a_page(contact: str) -> None:
    with pytest.raises(ConfigurationError, match="SAGALINE_PUSH_CONTACT"):
        PushKey(PushKey.make(), contact)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("p256dh", ""),
        ("p256dh", b64(b"\x04" + b"\x01" * 64)),
        ("p256dh", b64(b"\x02" + b"\x01" * 32)),
        ("p256dh", b64(b"\x04" + b"\x00" * 64)),
        ("p256dh", "canary!"),
        ("auth", ""),
        ("auth", b64(b"fifteen bytes..")),
        ("auth", b64(b"c" * 17)),
        ("auth", "canärycanärycanäry"),
    ],
)
def test_wrong_keys_of_a_browser_are_named_and_not_repeated(field: str, value: str) -> None:
    keys = Browser("https://push.example.net/1").subscription()["keys"] | {field: value}
    with pytest.raises(InvalidRequest) as refused:
        PushKey(PushKey.make(), CONTACT).seal("p1", "https://push.example.net/1", **keys)
    assert refused.value.field == f"keys.{field}"
    assert not value or value not in str(refused.value)


def test_subscriptions_are_kept_as_rules_and_wrong_ones_are_denied() -> None:
    full = replace(SUBSCRIPTION, by="ann", types=(EventType.ATTENTION,), definitions=("d",), expires_ms=9)
    rules = [PUSHES.rule(full)]
    assert PUSHES.of(rules) == (full,)
    wrong = OWN_TABLES[PUSHES.table]
    assert wrong(rules) is None
    for bad, says in (
        (replace(full, name="p:1"), "is no name"),
        (replace(full, sealed="s" * 2_049), "longer than 2,048"),
        (replace(full, definitions=("d",) * 51), "fewer"),
        (replace(full, definitions=("d" * 65,)), "no name of a definition"),
    ):
        assert says in (PUSHES.check_one(bad) or ""), bad
    many = [PUSHES.rule(replace(full, name=f"p{number}")) for number in range(201)]
    assert "at most 200" in (wrong(many) or "")
