"""`saga keys` against a real API: a secret is printed once, works under its name, and ends."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .test_cli_remote import ALL_IN_ONE, Process, saga

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("keys")
    made = b64encode(bytes(32)).decode()
    keys = f'["2026-11:{made}"]'
    process = Process(folder, ALL_IN_ONE, SAGALINE_API_TOKENS='["a-token-for-tests-only"]', SAGALINE_PERSONAL_KEYS=keys)
    try:
        yield process
    finally:
        process.end()


def test_a_key_is_made_used_rotated_and_revoked(up: Process) -> None:
    made = saga(up, "keys", "create", "ann@shop", "--role", "operator", "--group", "risk", "--valid-for", "90d")
    assert re.fullmatch(r"sgl_[0-9a-f]{64}\n", made)
    secret = made.strip()

    assert "there is no instance" in saga(up, "pause", "order-checkout/A-1", token=secret, code=1)
    denied = saga(up, "keys", "list", token=secret, code=1)
    assert denied == "saga: ann@shop has the role operator; this needs the role admin: use such a key\n"
    refused = saga(up, "pause", "order-checkout/A-1", "--by", "bob", token=secret, code=1)
    assert "this credential is of 'ann@shop'" in refused

    listed = saga(up, "keys", "list")
    for part in ("ann@shop", "operator", "risk", "administrator"):
        assert part in listed
    rotated = json.loads(saga(up, "keys", "rotate", "ann@shop", "--overlap", "0s", "--json"))
    assert rotated["secret"] != secret
    assert "does not know the given token" in saga(up, "list", token=secret, code=1)
    assert saga(up, "keys", "revoke", "ann@shop", "--reason", "left the team") == "ann@shop is revoked\n"
    assert "does not know the given token" in saga(up, "list", token=rotated["secret"], code=1)
    assert "there is no key 'ann@shop'" in saga(up, "keys", "revoke", "ann@shop", code=1)


def test_the_quotas_of_the_page_are_set_and_a_key_is_refused_what_is_above_them(up: Process, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    quotas = json.loads(page.partition("## Quotas")[2].partition("```json")[2].partition("```")[0])
    file = tmp_path / "quotas.json"
    for given in (quotas, [{"when": {"of": "requests", "by": "bob"}, "to": "1/h"}]):
        file.write_text(json.dumps(given))
        said = saga(up, "rules", "set", "api.quotas", "--file", str(file), "--reason", "the shop's contract")
        assert said.startswith("api.quotas has new rules: version ")
    assert "requests" in saga(up, "rules", "show", "api.quotas")
    secret = saga(up, "keys", "create", "bob", "--role", "admin").strip()
    refused = saga(up, "rules", "set", "api.quotas", "--file", str(file), token=secret, code=1)
    assert "a token of the settings only" in refused
    me = up.wait_for(r"answering at (http\S+);") + "/v1/me"
    statuses = [httpx.get(me, headers={"authorization": f"Bearer {secret}"}).status_code for _ in range(20)]
    assert statuses[-1] == 429, statuses
    said = "bob has used up the quota of requests, 1 in 3,600 s; try again in 3,"  # the whole wait, by a real clock
    assert said in saga(up, "list", token=secret, code=1)
    assert saga(up, "list")
    assert saga(up, "keys", "revoke", "bob") == "bob is revoked\n"


def test_a_person_is_erased_and_keys_are_sealed_anew(up: Process) -> None:
    said = "C-1815 has no personal data that can be opened; nothing was erased\n"
    assert saga(up, "personal", "erase", "C-1815", "--reason", "she asked for it on 28 May") == said
    assert "0 sealed anew by 2026-11; no other key" in saga(up, "personal", "rewrap")
