"""The command line's manners: help for everything, one sentence per error, exit codes for scripts."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.errors import exit_code, sentence, sentences
from sagaline.orchestrator.errors import ConfigurationError, InUse, LogUnavailable, SagalineError, TopicGone
from sagaline.orchestrator.ports.log import TopicPartition
from sagaline.orchestrator.ports.read_model import Update
from sagaline.orchestrator.settings import Settings
from tests.unit.cli_kit import logs_restored

CHECKOUT = "sagaline.sagas.examples.order_checkout:checkout"


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, none of our variables, and logs as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in ("LOG", "NAMESPACE", "PARTITIONS", "URL", "API_TOKEN", "API_TOKENS", "PORT", "HOST", "READ_MODEL"):
        monkeypatch.delenv(f"SAGALINE_{name}", raising=False)
    with logs_restored():
        yield


def saga(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=input)


def refused(result: Result, code: int, *parts: str) -> None:
    """One line on stderr, nothing on stdout, that exit code."""
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.startswith("saga: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


COMMANDS = (
    "run worker api demo start list show history cancel pause resume retry abandon".split()  # noqa: SIM905
)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["topics", "create"], ["topics", "check"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    result = saga(*command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 8
    assert command == [] or "--debug" in result.stdout


def test_the_page_about_the_command_line_names_every_command_and_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    missing = [name for name in COMMANDS if f"`{name}`" not in page and f"`saga {name}" not in page]
    missing += [name for name in Settings.model_fields if f"SAGALINE_{name.upper()}`" not in page]
    assert missing == []


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["list", "--nosuch"], ["show"], ["list", "--limit", "0"], ["worker"]]
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    result = saga(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--log", "postgres://x"], ["setting log 'postgres://x' is wrong", "correct --log or SAGALINE_LOG"]),
        (["--partitions", "0"], ["setting partitions 0", "--partitions or SAGALINE_PARTITIONS"]),
        (["--namespace", "Shop"], ["setting namespace 'Shop'", "--namespace"]),
        (["--log-format", "xml"], ["setting log_format 'xml'", "--log-format"]),
        (["--member-timeout", "nan"], ["setting member_timeout", "--member-timeout"]),
    ],
)
def test_a_bad_setting_is_one_sentence(arguments: list[str], parts: list[str]) -> None:
    refused(saga("topics", "check", *arguments), 2, *parts)


def test_a_setting_of_the_environment_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGALINE_API_TOKENS", "not-json")
    refused(saga("topics", "check"), 2, "api_tokens", "give it as JSON")


def test_a_token_never_shows_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGALINE_API_TOKENS", '["short-secret"]')
    result = saga("api", CHECKOUT, "--log", "sqlite:///x.db")
    refused(result, 2, "shorter than 16 characters")
    assert "short-secret" not in result.output


def test_listening_for_everybody_needs_a_token() -> None:
    refused(saga("api", CHECKOUT, "--host", "0.0.0.0"), 2, "refusing to listen on 0.0.0.0 without authentication")


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(saga("api", CHECKOUT, "--port", port), 1, f"port {port} of 127.0.0.1 is taken", "choose another port")


def test_a_log_that_cannot_be_used_is_one_sentence() -> None:
    refused(saga("run", CHECKOUT, "--log", "sqlite:///missing/x.db"), 2, "its folder does not exist; create")


@pytest.mark.slow
def test_an_absent_broker_is_said_once_and_within_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        log = f"kafka://127.0.0.1:{free.getsockname()[1]}"
        refused(saga("topics", "check", "--log", log), 3, "no Kafka broker answers at 127.0.0.1:", "check the address")
        refused(saga("run", CHECKOUT, "--log", log), 3, "no Kafka broker answers")


def test_missing_topics_are_named_and_created_on_request() -> None:
    refused(saga("topics", "check", "--queue", "stock"), 1, "sagaline.commands.stock does not exist", "topics create")
    created = saga("topics", "create", CHECKOUT, "--queue", "stock", "--json")
    assert created.exit_code == 0
    assert '"sagaline.commands.payment"' in created.stdout
    assert saga("topics", "check", CHECKOUT, "--queue", "stock").exit_code == 0
    refused(saga("topics", "check", "--partitions", "5"), 1, "created with 4 partitions", "--partitions 4")
    refused(saga("topics", "create", "--queue", "St ock"), 2, "queue 'St ock'")


def test_a_topic_that_is_gone_is_exit_code_1_and_is_not_made_anew() -> None:
    """As the page says: a topic is wrong. Not 3, which a script takes for a log that comes back."""
    assert saga("topics", "create", "--queue", "stock").exit_code == 0
    with closing(sqlite3.connect("sagaline.db")) as file, file:
        file.execute("DELETE FROM topics WHERE name = 'sagaline.state'")
    for command in (["topics", "check"], ["topics", "create"], ["run", CHECKOUT], ["run", CHECKOUT, "--development"]):
        refused(saga(*command), 1, "sagaline.state is gone", "restore it")
    assert exit_code(TopicGone(["sagaline.inputs"])) == 1
    assert exit_code(LogUnavailable("it is away")) == 3
    assert (exit_code(InUse("somebody runs there")), exit_code(ConfigurationError("it is wrong"))) == (1, 2)


def test_nobody_at_the_address_is_exit_code_3() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        refused(saga("list", "--url", url), 3, f"nothing answers at {url}", "saga api", "--url")


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://[::1"])
def test_an_address_that_is_none_is_exit_code_2(url: str) -> None:
    refused(saga("list", "--url", url), 2, "is not an address", "--url http://host:port")


@pytest.mark.parametrize(
    "instance", ["abc", "/key", "definition/", "../tables/x", "./x", "d/..", "d/.", "d/a\x00", "d/\udcff"]
)
def test_an_id_that_is_none_is_refused_before_anything_is_asked(instance: str) -> None:
    refused(saga("show", instance, "--url", "http://127.0.0.1:1"), 2, "is not an instance's id", "definition/key")


@pytest.mark.parametrize(
    "command",
    [
        ("start", "..", "--input", "{}"),
        ("rules", "show", ".."),
        ("rules", "history", "."),
        ("locks", ".."),
        ("mailboxes", "paid", ".."),
        ("mailboxes", "..", "k"),
        ("rules", "show", "a\nb"),
    ],
)
def test_a_name_never_leads_to_another_path(command: tuple[str, ...]) -> None:
    """A path with ``..`` in it is another path before it is sent."""
    refused(saga(*command, "--url", "http://127.0.0.1:1"), 2, "is not a name")


@pytest.mark.parametrize(
    ("given", "stdin", "part"),
    [
        ("[1]", None, "holds a JSON list"),
        ("{", None, "is not JSON"),
        ("@missing.json", None, "missing.json cannot be read"),
        ("-", "nothing", "standard input is not JSON"),
        ("[" * 100_000, None, "is not JSON"),
    ],
)
def test_an_input_that_is_none_is_refused_before_anything_is_asked(given: str, stdin: str | None, part: str) -> None:
    refused(saga("start", "x", "--input", given, "--url", "http://127.0.0.1:1", input=stdin), 2, part)


@pytest.fixture
def foreign() -> Iterator[str]:
    """The address of a web server that is none of ours: answers 200 with a page, and 500 below /v1/instances/."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if "instances/" in self.path else 200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def test_another_server_at_the_address_is_said(foreign: str) -> None:
    refused(saga("list", "--url", foreign), 1, "without JSON; is that the API of Sagaline?")
    refused(saga("show", "a/b", "--url", foreign), 1, "500 without a reason; is that the API of Sagaline?")


def test_a_token_that_no_header_can_carry_is_said() -> None:
    refused(saga("list", "--url", "http://127.0.0.1:1", "--token", "schlüssel€"), 2, "SAGALINE_API_TOKEN")


def test_a_traceback_is_shown_only_when_asked_for() -> None:
    plain, debug = saga("show", "abc"), saga("show", "abc", "--debug")
    assert "Traceback" not in plain.output
    assert "Traceback" in debug.stderr
    assert debug.stderr.splitlines()[-1] == plain.stderr.strip()


def test_of_a_group_of_errors_the_one_that_is_ours_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("two", [ValueError("theirs"), ExceptionGroup("one", [SagalineError("ours\nhere")])])
    with pytest.raises(BaseException, match="1"), sentences(debug=False):
        raise group
    assert capsys.readouterr().err == "saga: ours here\n"


def test_what_is_not_ours_is_named_and_asks_to_be_reported() -> None:
    assert sentence(KeyError("x")) == "unexpected KeyError: 'x'; give --debug to see where, and report it"


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.ENOSPC, "free some space on that disk"), (errno.EACCES, "give a folder that can be written to")],
)
def test_what_is_wrong_around_us_is_said_with_the_way_out(number: int, way_out: str) -> None:
    """A full disk is no defect to be reported."""
    said = sentence(OSError(number, os.strerror(number), "/data/orders.db"))
    assert f"{os.strerror(number)} (/data/orders.db): {way_out}" in said
    assert "report it" not in said


PROCESSES = [["run", CHECKOUT], ["run", CHECKOUT, "--api"], ["api", CHECKOUT], ["read-model", "clear"]]


@pytest.mark.parametrize("command", PROCESSES, ids=" ".join)
@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("postgres//ann:s3cret-word@db/x", "not understood"),
        ("mysql://ann:s3cret-word@db/x?password=s3cret-word", "cannot be kept in 'mysql'"),
        ("sqlite:///missing/x.db?key=s3cret-word", "there is no folder missing; create it"),
        ("sqlite://", "needs its own file"),
    ],
)
@pytest.mark.long
def test_a_bad_address_of_the_read_model_is_refused_by_everybody_and_never_shown(
    tmp_path: Path, command: list[str], address: str, part: str
) -> None:
    """Before anything is made or taken, and also by whoever does not use it."""
    result = saga(*command, "--read-model", address)
    refused(result, 2, "the setting read_model is wrong", part, "--read-model or SAGALINE_READ_MODEL")
    assert "s3cret-word" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_read_model_is_cleared_on_request(tmp_path: Path) -> None:
    refused(saga("read-model", "clear"), 2, "there is no read model at sqlite:///sagaline.db")
    assert list(tmp_path.iterdir()) == []
    assert saga("topics", "create", CHECKOUT).exit_code == 0
    done = saga("read-model", "clear", "--namespace", "shop")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "the read model of namespace shop is empty" in done.stdout
    assert '"cleared": true' in saga("read-model", "clear", "--json").stdout


def test_an_api_on_a_read_model_of_another_log_ends_before_it_decides_anything(tmp_path: Path) -> None:
    asyncio.run(_feed_from_elsewhere(tmp_path / "read.db"))
    assert saga("topics", "create", CHECKOUT).exit_code == 0
    result = saga("run", CHECKOUT, "--api", "--port", "0", "--read-model", "sqlite:///read.db")
    refused(result, 1, "was fed from another log", "saga read-model clear --namespace sagaline")
    assert "partition taken" not in result.output


async def _feed_from_elsewhere(path: Path) -> None:
    model = await SqlReadModel.open(f"sqlite:///{path}", namespace="sagaline")
    await model.apply(Update({}, (), {TopicPartition("sagaline.state", 0): 999}))
    await model.close()


def test_a_read_model_that_cannot_be_opened_is_one_sentence_and_nothing_is_decided(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 1_000)
    assert saga("topics", "create", CHECKOUT).exit_code == 0
    result = saga("run", CHECKOUT, "--api", "--port", "0", "--read-model", "sqlite:///notes.txt")
    refused(result, 2, "the read model at sqlite:///notes.txt cannot be opened", "file is not a database")
    assert "partition taken" not in result.output
