"""``saga asyncapi``: the AsyncAPI document of definitions and workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from ...sagas import Event
from ...workers.worker import Worker
from ..client.asyncapi import Service, asyncapi_document
from ..kernel import Registry
from ..ports.topics import Topics
from .errors import Mistake
from .loading import load_parts

__all__ = ["asyncapi", "service_of"]


def asyncapi(references: Sequence[str], namespace: str, out: str | None) -> None:
    """Writes the document to a file, or prints it.

    Raises:
        Mistake: a reference names neither a definition nor a worker, or the file cannot be written.
    """
    definitions, workers = load_parts(references)
    found = asyncapi_document(Topics(namespace), Registry(definitions), [service_of(each) for each in workers])
    text = json.dumps(found, indent=2)
    if out is None:
        typer.echo(text)
        return
    try:
        Path(out).write_text(f"{text}\n")
    except OSError as error:
        raise Mistake(f"{out} cannot be written: {error.strerror}; give another file with --out") from error


def service_of(worker: Worker) -> Service:
    """What a worker declares."""
    return Service(
        name=worker.name,
        handles=worker.contracts,
        subscribes=[
            (each.options.group, Event(each.event, each.reads.model))
            for each in worker.subscriptions
            if each.event is not None
        ],
        consumes=[
            (each.options.group, each.topic, each.reads.model)
            for each in worker.subscriptions
            if each.topic is not None
        ],
    )
