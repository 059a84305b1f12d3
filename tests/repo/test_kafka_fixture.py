"""Where there is no broker, the run says so in words that nobody overlooks, also of tests in other processes."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["in this process", "in another"])
@pytest.mark.parametrize(("ci", "outcome"), [("false", "skipped"), ("true", "errors")])
def test_a_missing_broker_is_said_loudly_and_fails_a_build(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("SAGALINE_TEST_KAFKA", "127.0.0.1:1")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest("from tests.kafka_fixture import *")
    pytester.makepyfile("def test_on_kafka(kafka_bootstrap): pass")
    ran = pytester.runpytest_inprocess(*options)
    ran.assert_outcomes(**{outcome: 1})
    said = ran.stdout.str().partition("TESTS ON A REAL KAFKA DID NOT RUN")[2]
    assert "no broker answers there: start it or unset the name" in said
    assert "DID NOT RUN" not in said
