"""``saga topics`` for what only workers name: the groups of their subscriptions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app

SHOP = """
from pydantic import BaseModel
from sagaline.sagas import Event
from sagaline.workers import Worker

class Shipped(BaseModel):
    order: str

shipped = Event("shipped", Shipped)
mailer = Worker("mailer")

@mailer.subscribes(shipped)
async def mail(event: Shipped) -> None:
    ...
"""


def test_the_topics_of_a_workers_groups_are_created_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cli_topics_shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    log = ["--log", f"sqlite:///{tmp_path}/log.db"]
    missing = CliRunner().invoke(app, ["topics", "check", "cli_topics_shop:mailer", *log])
    assert missing.exit_code == 1
    made = CliRunner().invoke(app, ["topics", "create", "cli_topics_shop:mailer", *log])
    assert made.exit_code == 0
    assert "sagaline.parked.mailer  created" in made.output
    assert "sagaline.redelivered.mailer  created" in made.output
    assert (
        "sagaline.parked.mailer  ok"
        in CliRunner().invoke(app, ["topics", "check", "cli_topics_shop:mailer", *log]).output
    )
    neither = CliRunner().invoke(app, ["topics", "create", "cli_topics_shop:shipped", *log])
    assert neither.exit_code == 2
    assert "is neither a saga nor a worker; name one as MODULE:NAME" in neither.output
