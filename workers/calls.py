"""How a handler is called: through the middlewares, with what it asks for, in a thread if it is not async.

One way for handlers of commands and of subscriptions. What a signature asks for is read once, at declaration
(``injection``); here it is resolved for one delivery:

- dependencies one after the other, in the order of parameters, each once per delivery unless ``use_cache=False``;
- what a generator yielded is closed after the handler, the last one first, and sees the handler's error. It cannot make
  a failure a success: what it does not raise again is still raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from types import CoroutineType
from typing import Any, TypeAlias

from .delivery import Delivery
from .injection import Callee, Given, Kind, Needed, callee_of
from .threads import Threads

__all__ = ["Calls", "Middleware"]

Middleware: TypeAlias = Callable[[Delivery, Callable[[], Awaitable[object]]], Awaitable[object]]
"""``async def middleware(message, call_next)``: runs round a handler; ``await call_next()`` goes on."""


class Calls:
    """Calls the handlers of one worker.

    Args:
        middlewares: the first outermost.
        overrides: functions in place of dependencies; looked up at each call.
    """

    def __init__(
        self,
        middlewares: Sequence[Middleware] = (),
        overrides: Mapping[Callable[..., object], Callable[..., object]] | None = None,
    ) -> None:
        self._middlewares = tuple(reversed(middlewares))
        self._overrides = _Overrides(overrides if overrides is not None else {})

    def call(self, callee: Callee, body: object, delivery: Delivery | None) -> Coroutine[Any, Any, Any]:
        """To be awaited once: what the handler returns, or the outermost middleware in its place."""
        if self._middlewares:
            assert delivery is not None
            return self._through(callee, body, delivery)
        if callee.is_plain and callee.kind is Kind.ASYNC:
            found = callee.function(body) if len(callee.positional) == 1 else callee.function(body, delivery)
            if type(found) is CoroutineType:  # most handlers: every layer more costs each message
                return found
            return _awaited(found)
        assert delivery is not None
        return self._handle(callee, body, delivery)

    def asks(self, callee: Callee) -> bool:
        """False: ``call`` needs no delivery, since nobody sees it."""
        bare = callee.is_plain and callee.kind is Kind.ASYNC and Given.DELIVERY not in callee.positional
        return bool(self._middlewares) or not bare

    async def _through(self, callee: Callee, body: object, delivery: Delivery) -> object:
        call: Callable[[], Awaitable[object]] = partial(self._handle, callee, body, delivery)
        for middleware in self._middlewares:
            call = partial(middleware, delivery, call)
        return await call()

    async def _handle(self, callee: Callee, body: object, delivery: Delivery) -> object:
        if callee.is_plain:
            return await _run(callee, (body, delivery)[: len(callee.positional)], {})
        async with AsyncExitStack() as stack:
            return await _Resolving(body, delivery, self._overrides, stack).call(callee)


class _Overrides:
    """What is called in place of dependencies."""

    def __init__(self, functions: Mapping[Callable[..., object], Callable[..., object]]) -> None:
        self._functions = functions
        self._callees: dict[tuple[Callable[..., object], type, type], Callee] = {}

    def instead(self, of: Needed, body: object, delivery: Delivery) -> Callee:
        """Raises: DefinitionError: nothing fills a parameter of the override."""
        function = self._functions.get(of.function)
        if function is None:
            return of.callee
        place = (function, type(body), type(delivery))
        if place not in self._callees:
            at = "dependency_overrides"
            self._callees[place] = callee_of(at, function, type(body), type(delivery), handler=False)
        return self._callees[place]


class _Resolving:
    """What one delivery has resolved so far."""

    def __init__(self, body: object, delivery: Delivery, overrides: _Overrides, stack: AsyncExitStack) -> None:
        self._body, self._delivery, self._overrides, self._stack = body, delivery, overrides, stack
        self._found: dict[Callable[..., object], object] = {}

    async def call(self, callee: Callee) -> object:
        positional = [await self._value(each) for each in callee.positional]
        named = {name: await self._value(each) for name, each in callee.named}
        if callee.kind is Kind.ASYNC_GENERATOR:
            return await self._open(asynccontextmanager(callee.function)(*positional, **named))
        if callee.kind is Kind.GENERATOR:
            return await self._open(_InThread(contextmanager(callee.function)(*positional, **named)))
        return await _run(callee, positional, named)

    async def _value(self, source: Given | Needed) -> object:
        if source is Given.BODY:
            return self._body
        if source is Given.DELIVERY:
            return self._delivery
        assert isinstance(source, Needed)
        if source.use_cache and source.function in self._found:
            return self._found[source.function]
        value = await self.call(self._overrides.instead(source, self._body, self._delivery))
        if source.use_cache:
            self._found[source.function] = value
        return value

    async def _open(self, manager: AbstractAsyncContextManager[object]) -> object:
        value = await manager.__aenter__()

        async def close(*failure: Any) -> None:
            await manager.__aexit__(*failure)

        self._stack.push_async_exit(close)
        return value


_HANDLERS, _DEPENDENCIES = Threads("sagaline-handler"), Threads("sagaline-dependency")


class _InThread(AbstractAsyncContextManager[object]):
    """A blocking context manager in threads. When the handler is cancelled while it opens, it is closed unused."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> object:
        return await _DEPENDENCIES.run(self._manager.__enter__)

    async def __aexit__(self, *failure: Any) -> None:
        await _DEPENDENCIES.run(self._manager.__exit__, *failure)


async def _awaited(found: Awaitable[object]) -> object:
    return await found


async def _run(callee: Callee, positional: Sequence[object], named: Mapping[str, object]) -> object:
    if callee.kind is Kind.ASYNC:
        return await callee.function(*positional, **named)
    result: object = await _HANDLERS.run(callee.function, *positional, **named)
    return await result if inspect.isawaitable(result) else result
