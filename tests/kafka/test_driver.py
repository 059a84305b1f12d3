"""The checks on aiokafka at start. They need no broker."""

from __future__ import annotations

import os
import subprocess
import sys

import aiokafka.producer.sender
import pytest

from sagaline.orchestrator.adapters.kafka_log import driver
from sagaline.orchestrator.adapters.kafka_log.driver import require_sound_driver
from sagaline.orchestrator.adapters.kafka_log.settings import Limits
from sagaline.orchestrator.errors import ConfigurationError

_CHECK = "from sagaline.orchestrator.adapters.kafka_log.driver import require_sound_driver as check; check()"


def _run(*options: str, **environment: str) -> str:
    command = [sys.executable, *options, "-c", _CHECK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    return done.stderr


def test_the_wait_between_two_transactions_is_shortened() -> None:
    require_sound_driver()
    assert aiokafka.producer.sender.BACKOFF_OVERRIDE == 0.002


@pytest.mark.slow
def test_python_without_asserts_is_refused() -> None:
    assert "run it without -O" in _run("-O")


@pytest.mark.slow
def test_a_missing_c_extension_is_refused_with_the_way_out() -> None:
    assert "unset AIOKAFKA_NO_EXTENSIONS" in _run(AIOKAFKA_NO_EXTENSIONS="1")


@pytest.mark.parametrize(
    ("kind", "names"), [("TopicPartitionState", ("position", "gone")), ("AIOKafkaConsumer", ("_client", "_gone"))]
)
def test_an_aiokafka_that_lacks_what_we_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, names: tuple[str, ...]
) -> None:
    """Attributes that are only set by ``__init__`` count as well."""
    here = next(each for each in driver._PRIVATE if each.__name__ == kind)
    monkeypatch.setitem(driver._PRIVATE, here, names)
    with pytest.raises(ConfigurationError, match=rf"has no {kind}\.{names[1]}: install"):
        require_sound_driver()


def test_a_commit_deadline_that_aiokafka_could_outlive_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shorter"):
        Limits(commit_s=30, request_s=30)
