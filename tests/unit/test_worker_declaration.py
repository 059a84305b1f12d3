"""What is wrong with a worker's declaration is raised at import, with the way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.ports.topics import Topics
from sagaline.sagas import Contract, DefinitionError, Rejected
from sagaline.workers import Context, Worker, WorkerRuntime

from ..worker_world import Pack, Packed, audit, pack, worker_world


async def handler(command: Pack, ctx: Context) -> Packed:
    return Packed(parcel="P")


async def no_parameter() -> Packed:
    return Packed(parcel="P")


async def unfilled(command: Pack, ctx: Context, db: str) -> Packed:
    return Packed(parcel="P")


async def generating(command: Pack, ctx: Context) -> AsyncIterator[Packed]:
    yield Packed(parcel="P")


async def another_command(command: Packed, ctx: Context) -> Packed:
    return Packed(parcel="P")


async def another_context(command: Pack, ctx: str) -> Packed:
    return Packed(parcel="P")


async def another_reply(command: Pack, ctx: Context) -> Pack | Rejected:
    return Pack(item="P")


async def no_reply(command: Pack, ctx: Context) -> None: ...


async def untold(command, ctx):  # type: ignore[no-untyped-def]  # what the test is about
    return Packed(parcel="P")


async def wider(command: BaseModel, ctx: Any) -> Rejected | Packed: ...  # type: ignore[empty-body]  # never called


def twice() -> None:
    worker = Worker("packer")
    worker.handles(pack)(handler)
    worker.handles(pack)(handler)


def twice_by_one_decorator() -> None:
    declare = Worker("packer").handles(pack)
    declare(handler)
    declare(handler)


def namesake() -> None:
    worker = Worker("packer")
    worker.handles(pack)(handler)
    worker.handles(Contract("pack", Pack, Packed, queue="elsewhere"))(handler)


def declare(contract: Any, function: Any) -> Callable[[], None]:
    return lambda: Worker("packer").handles(contract)(function) and None


@pytest.mark.parametrize(
    ("mistake", "remedy"),
    [
        (lambda: Worker("Packer!"), "choose such a name"),
        (lambda: Worker("packer", concurrency=0), "give a whole number, 1 or more"),
        (lambda: Worker("packer", handler_timeout=timedelta(0)), "give a positive timedelta"),
        (lambda: Worker("packer", grace=timedelta(seconds=-1)), "give a timedelta of zero or more"),
        (lambda: Worker("packer").queues, "handles nothing"),
        (twice, "remove one of the two"),
        (twice_by_one_decorator, "remove one of the two"),
        (namesake, "remove one of the two"),
        (declare(pack, no_parameter), "let its first parameter be the Pack$"),
        (declare(pack, unfilled), "nothing fills 'db'; annotate it as Annotated"),
        (declare(pack, generating), "a handler returns"),
        (declare(pack, another_command), "annotate it with Pack$"),
        (declare(pack, another_context), "annotate it with Context, or annotate it as Annotated"),
        (declare(pack, another_reply), "let it return Packed, Rejected or AnswerLater$"),
        (declare(pack, no_reply), "let it return Packed, Rejected or AnswerLater$"),
        (declare(handler, handler), "give the contract that the saga's step names"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_remedy(mistake: Callable[[], object], remedy: str) -> None:
    with pytest.raises(DefinitionError, match=remedy):
        mistake()


@pytest.mark.parametrize("function", [untold, wider])
def test_an_annotation_that_says_less_is_fine(function: Any) -> None:
    Worker("packer").handles(pack)(function)


def test_methods_and_callable_objects_may_be_handlers() -> None:
    class Desk:
        async def pack(self, command: Pack, ctx: Context) -> Packed:
            return Packed(parcel="P")

        async def __call__(self, command: Pack, ctx: Context) -> Packed:
            return Packed(parcel="P")

    worker = Worker("packer")
    worker.handles(pack)(Desk().pack)
    worker.handles(audit)(Desk())
    assert worker.queues == ("auditing", "packing")


async def test_a_worker_that_handles_nothing_cannot_be_run(tmp_path: Path) -> None:
    async with worker_world(tmp_path) as world:
        with pytest.raises(DefinitionError, match="decorate a function"):
            WorkerRuntime(Worker("idle"), world.log, Topics("t"), SystemClock())
