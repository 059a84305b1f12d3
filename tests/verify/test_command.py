"""``saga verify`` on the command line: what its page shows is what it prints."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app
from tests.repo.tree import ROOT

PAGE = (ROOT / "docs" / "verify.md").read_text()
FENCE = re.compile(r"```(python|console)\n(.*?)```", re.S)
SHOP, SHOWN = (body for _, body in FENCE.findall(PAGE))


@pytest.fixture(autouse=True)
def _shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's shop in the current folder; what was imported from it is forgotten afterwards."""
    (tmp_path / "shop.py").write_text(SHOP + "both = [order, Saga('other', Order, flow=[ship])]\n")
    (tmp_path / "wrong.json").write_text('{"key": "o-17"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("shop", None)


def saga(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["verify", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_page_shows_what_is_printed() -> None:
    """To the letter, and a finding is exit code 1."""
    code, printed, _ = saga("shop:order")
    assert code == 1
    assert f"$ saga verify shop:order\n{printed.rstrip()}\n" == SHOWN


def test_the_test_that_is_written_fails_until_the_mistake_is_mended(tmp_path: Path) -> None:
    """The file runs as it is written."""
    assert saga("shop:order", "--pytest", "test_shop.py")[0] == 1
    names: dict[str, object] = {}
    exec((tmp_path / "test_shop.py").read_text(), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    with pytest.raises(AssertionError, match="no-undo: step 'charge'"):
        test()  # type: ignore[operator]
    undo = 'charge.undo(Contract("refund", Command, Done, queue="cards"))(command)\n'
    (tmp_path / "shop.py").write_text(SHOP.replace("order = Saga", f"{undo}order = Saga"))
    del sys.modules["shop"]
    exec((tmp_path / "test_shop.py").read_text(), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()  # type: ignore[operator]


def test_json_is_for_scripts_and_one_of_several_can_be_chosen() -> None:
    """What holds is exit code 0."""
    code, printed, _ = saga("shop:both", "--definition", "other", "--json")
    assert code == 0
    (found,) = json.loads(printed)["definitions"]
    assert (found["definition"], found["findings"], found["complete"]) == ("other", [], True)


def test_inputs_are_read_from_a_file(tmp_path: Path) -> None:
    """The way begins with them."""
    (tmp_path / "input.json").write_text('{"id": "o-17"}')
    assert "id='o-17'" in saga("shop:order", "--input", "input.json")[1]


def test_bounds_that_were_used_up_are_said() -> None:
    """With the states that were looked at, and the option to raise."""
    _, printed, _ = saga("shop:order", "--depth", "1")
    assert re.search(r"\d+ states, \d+ transitions, depth at most 1, from 1 input", printed)
    assert (
        "bounds: 2 faults per run, depth 1, 200,000 states; NOT every run was explored: raise --depth or --states"
        in printed
    )


def test_a_terminal_is_shown_a_bar_and_a_script_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr: what is printed stays the same."""
    _, printed, errors = saga("shop:order")
    assert "states visited" not in errors
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    _, also_printed, errors = saga("shop:order")
    assert "states visited" in errors
    assert "━" in errors
    assert also_printed == printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("shop:both", "--definition", "none"), "there is no definition 'none' in shop:both; there are order, other"),
        (("shop:both", "--input", "x.json"), "--input is the input of one definition; say which: --definition NAME"),
        (("shop:order", "--input", "x.json"), "--input x.json: No such file or directory; give a file"),
        (("shop:order", "--input", "shop.py"), "--input shop.py is not JSON"),
        (
            ("shop:order", "--input", "wrong.json"),
            "--input wrong.json is not an input of order: id: the field is missing, add it",
        ),
    ],
)
def test_a_wrong_command_line_is_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    """Exit code 2."""
    code, _, errors = saga(*arguments)
    assert code == 2
    assert sentence in errors
