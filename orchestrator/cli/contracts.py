"""``saga contracts``: everything that a worker in any language must know about the contracts of definitions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from pydantic import BaseModel

from ...sagas import Contract
from ...sagas.definition import AnyDefinition
from ..kernel import Registry
from .loading import load_definitions

__all__ = ["contracts", "described"]


def contracts(references: Sequence[str], *, as_json: bool) -> None:
    """Prints every contract of the referenced definitions and of their children, by name."""
    found = described(Registry(load_definitions(references)))
    if as_json:
        typer.echo(json.dumps({"contracts": found}, indent=2))
        return
    for each in found:
        models = f"{each['command'].get('title', '')} -> {each['reply'].get('title', '')}"
        typer.echo(f"{each['name']}  {models}  queue {', '.join(each['queues'])}")
        for use in each["sent_by"]:
            what = f"undo of {use['step']}" if use["direction"] == "undo" else use["step"]
            undone = f", undone by {use['undo']}" if use.get("undo") else ""
            typer.echo(f"    {use['definition']} v{use['version']}: {what}{undone}")


def described(definitions: Iterable[AnyDefinition]) -> list[dict[str, Any]]:
    """Each contract once: its queues, the JSON Schemas of command and reply, and the steps that send it.

    ``command`` is what a worker receives and ``reply`` what it must answer; both by field name, JSON Schema 2020-12. A
    use with ``direction`` ``do`` names in ``undo`` the contract that undoes it, or null.
    """
    found: dict[str, dict[str, Any]] = {}
    for definition in definitions:
        for step in definition.steps.values():
            undo = step.compensation
            undo_name = undo.contract.name if undo else None
            here = {"definition": definition.name, "version": definition.version, "step": step.name}
            _entry(found, step.declared, step.contract.queue, {**here, "direction": "do", "undo": undo_name})
            if undo is not None:
                _entry(found, undo.contract, undo.contract.queue, {**here, "direction": "undo"})
    return [found[name] for name in sorted(found)]


def _entry(
    found: dict[str, dict[str, Any]], contract: Contract[BaseModel, BaseModel], queue: str, use: dict[str, Any]
) -> None:
    entry = found.setdefault(
        contract.name,
        {
            "name": contract.name,
            "queues": [],
            "command": contract.command.model_json_schema(by_alias=False, mode="serialization"),
            "reply": contract.reply.model_json_schema(by_alias=False, mode="validation"),
            "sent_by": [],
        },
    )
    if queue not in entry["queues"]:
        entry["queues"].append(queue)
    if use not in entry["sent_by"]:
        entry["sent_by"].append(use)
