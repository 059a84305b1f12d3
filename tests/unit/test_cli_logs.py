"""Logs of a process: one line per event to stderr, as JSON or for people, with the instance bound."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from sagaline.orchestrator.logs import configure_logs
from tests.unit.cli_kit import logs_restored


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with logs_restored():
        yield


def test_json_lines_carry_level_logger_time_and_what_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    with bound_contextvars(instance="order-checkout/A-1", trace_id="0af7651916cd43dd8448eb211c80319c"):
        structlog.get_logger("sagaline.engine").info("decided", revision=3)
    structlog.get_logger("sagaline.engine").info("idle")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "decided",
        "level": "info",
        "logger": "sagaline.engine",
        "instance": "order-checkout/A-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "revision": 3,
    }
    assert "instance" not in second


async def test_what_is_bound_stays_with_its_own_flow_of_control(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    turn = asyncio.Event()

    async def first() -> None:
        with bound_contextvars(instance="a/1"):
            await turn.wait()
            structlog.get_logger("sagaline.x").info("first")

    async def second() -> None:
        with bound_contextvars(instance="a/2"):
            structlog.get_logger("sagaline.x").info("second")
            turn.set()

    await asyncio.gather(first(), second())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["instance"]) for line in lines] == [("second", "a/2"), ("first", "a/1")]


def test_libraries_go_the_same_way_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "debug")
    logging.getLogger("uvicorn.error").warning("odd")
    logging.getLogger("uvicorn.error").info("chatter")
    structlog.get_logger("sagaline.x").debug("ours")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["odd", "ours"]


def test_a_level_below_the_wanted_one_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console", "error")
    structlog.get_logger("sagaline.x").warning("quiet")
    logging.getLogger("aiokafka").error("again and again")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("rendering", ["console", "json"])
def test_a_traceback_shows_no_values_of_variables(rendering: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(rendering, "info")  # type: ignore[arg-type]  # one of the two, from the parameters
    card = "4111" * 4
    try:
        raise ValueError(f"card of {len(card)} digits")
    except ValueError:
        structlog.get_logger("sagaline.x").exception("failed")
    said = capsys.readouterr().err
    assert "ValueError: card of 16 digits" in said
    assert card not in said
