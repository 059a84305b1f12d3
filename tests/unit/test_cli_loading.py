"""``module:attribute`` on the command line: what is taken, and one sentence with the way out for what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagaline.orchestrator.cli.errors import Mistake
from sagaline.orchestrator.cli.loading import load, load_definitions
from sagaline.orchestrator.errors import DefinitionError
from sagaline.workers import Worker

SHOP = """
from sagaline.sagas.examples.order_checkout import checkout, charge_card
from sagaline.workers import Worker

class nested:
    saga = checkout

both = [checkout, checkout]
mixed = [checkout, 1]
empty = []
number = 7
payment = Worker("payment")
def workers():
    return [Worker("one"), Worker("two")]
def needs(argument):
    return argument
"""


@pytest.fixture(autouse=True)
def _shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with modules, as the current one; what was imported from it is forgotten afterwards."""
    (tmp_path / "cli_shop.py").write_text(SHOP)
    (tmp_path / "cli_broken.py").write_text("import nothing_of_that_name")
    (tmp_path / "cli_raising.py").write_text("raise RuntimeError('two\\nlines')")
    (tmp_path / "cli_leaving.py").write_text("raise SystemExit(3)")
    (tmp_path / "cli_wrong.py").write_text("from sagaline.workers import Worker\nWorker('Not A Name')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("cli_")]:
        del sys.modules[name]


def test_the_current_folder_is_on_the_import_path() -> None:
    assert [saga.name for saga in load_definitions(["cli_shop:checkout"])] == ["order-checkout"]


def test_lists_and_repeated_references_give_each_object_once() -> None:
    assert len(load_definitions(["cli_shop:both", "cli_shop:checkout", "cli_shop:nested.saga"])) == 1


def test_a_factory_is_called_when_its_parentheses_are_written() -> None:
    assert [worker.name for worker in load(["cli_shop:workers()"], Worker)] == ["one", "two"]


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("cli_shpo:checkout", "there is no module 'cli_shpo'.*did you mean cli_shop"),
        ("qqqqq:checkout", "there is no module 'qqqqq'.*go to the folder that holds it"),
        ("cli_shop.inner:checkout", "there is no module 'cli_shop.inner'"),
        ("cli_shop.py:checkout", "is a path; write it as a module: cli_shop:checkout"),
        ("cli_shop:chekout", "has no attribute 'chekout'; did you mean checkout"),
        ("cli_shop:zzz", "has no attribute 'zzz'; write cli_shop:checkout"),
        ("cli_shop:nested.sagas", "has no attribute 'nested.sagas'; did you mean saga"),
        ("cli_shop", "names a module only; write cli_shop:checkout"),
        (":checkout", "does not name a Definition; write package.module:attribute"),
        ("cli_shop:", "does not name a Definition; write package.module:attribute"),
        ("cli_shop:number", "is a int, not a Definition; write cli_shop:checkout"),
        ("cli_shop:charge_card", "is a Contract, not a Definition; write cli_shop:checkout"),
        ("cli_shop:mixed", "is a list of Saga, int, not a Definition"),
        ("cli_shop:empty", "is an empty list, not a Definition"),
        ("cli_shop:nested", "is the class nested, not a Definition"),
        ("cli_shop:workers", r"is a function, not a Definition; write cli_shop:workers\(\)"),
        ("cli_shop:needs()", "raised TypeError.*it must take no arguments"),
        ("cli_shop:number()", r"is a int and cannot be called; remove the \(\)"),
        ("cli_broken:checkout", "it imports 'nothing_of_that_name', which is not installed; install it"),
        ("cli_raising:checkout", "cannot be imported: RuntimeError: two lines; --debug"),
        ("cli_leaving:checkout", "cannot be imported: SystemExit: 3"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence_with_the_way_out(reference: str, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence) as caught:
        load_definitions([reference])
    assert "\n" not in str(caught.value)


def test_what_a_module_declares_wrongly_is_said_in_its_own_words() -> None:
    with pytest.raises(DefinitionError, match="worker 'Not A Name'"):
        load(["cli_wrong:anything"], Worker)
