"""A coroutine in a context of its own: what it sets in context variables stays there, and is there to its end.

So a variable that the handler of one message has set (a request id, a tenant, fields of the log) does not reach the
next message of its slot, and a span that it has opened is still the current one after it has waited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from operator import call
from types import coroutine
from typing import Any, Final, TypeVar

__all__ = ["resumed", "within"]

T = TypeVar("T")

_NOT_BEGUN: Final = object()


def within(context: Context, running: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """To be awaited: the coroutine in the same task, every part of it in this context."""
    return resumed(running, run=context.run)


@coroutine
def resumed(
    running: Coroutine[Any, Any, T], awaited: object = _NOT_BEGUN, run: Callable[..., object] = call
) -> Generator[Any, Any, T]:
    """Awaits a coroutine, also one that was begun by ``send`` and has given ``awaited``. ``run`` calls its parts."""
    try:
        if awaited is _NOT_BEGUN:
            awaited = run(running.send, None)
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                run(running.close)
                raise
            except BaseException as error:
                awaited = run(running.throw, error)
            else:
                awaited = run(running.send, sent)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]  # it has no type
