"""``saga demo``: from the first line to the final check.

On a terminal and without ``--orders`` it keeps serving, with a live table, until Ctrl-C; otherwise it ends by itself.
Exit code 0 only if every order ended as expected and the books agree.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.text import Text

from ....api.door import Door
from ....sagas.examples.order_checkout import checkout
from ....workers.examples.ledger import Ledger
from ....workers.examples.order_checkout import order_workers
from ...adapters.clock import SystemClock
from ...logs import configure_logs
from ...messages.document import Status
from ...producer import Producer
from ..errors import Failure
from ..options import ListenOptions, LogOptions, rendering
from ..processes import any_ended, run_process
from .live import live_table
from .parts import Parts, bound, demo_parts, orders_on_record, unless_ended
from .patterns import Stage, delete_left_schedules, every_pattern, play_all
from .place import Place, prepared
from .report import Books, Outcome, print_outcomes, print_trail, verdict
from .scenario import Plan, plan_orders

__all__ = ["DemoOptions", "run_demo"]

_ORDERS = 20
_STAGGER_SECONDS = 0.15
_LOOK_SECONDS = 0.5
_TRAILS_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The demo's own options; see ``saga demo --help``."""

    orders: int | None
    data: str | None
    keep: bool
    timeout_seconds: float
    all: bool = False
    stay: bool = False


def run_demo(log: LogOptions, listen: ListenOptions, options: DemoOptions) -> None:
    """Runs the demo to its end; exit code 1 if a check failed.

    Raises:
        SagalineError: the demo could not run; the message says what to do.
    """
    fresh = SystemClock().new_id()[:8]
    console = Console() if sys.stdout.isatty() else Console(width=150, no_color=True)
    with prepared(log, listen, options.data, options.keep, fresh) as place:
        configure_logs(rendering(place.settings, terminal=True), place.settings.log_level)
        listener = bound(place.settings)
        with listener:
            orders = _ORDERS if options.orders is None else options.orders
            demo = _Demo(place, options, console, fresh[:4], plan_orders(orders, fresh[:4]))
            run_process(demo.run(listener))
    if demo.wrong:
        raise typer.Exit(1)


class _Demo:
    """One run. ``wrong`` lists the failed checks, once it has ended."""

    def __init__(self, place: Place, options: DemoOptions, console: Console, run: str, plans: list[Plan]) -> None:
        self._place, self._options, self._console, self._run, self._plans = place, options, console, run, plans
        self._interactive = console.is_terminal and options.orders is None and not options.all
        self._patterns = every_pattern(place.folder) if options.all else []
        self._complete = False
        self.wrong: list[str] = []

    async def run(self, listener: Door) -> None:
        self._console.print(f"Sagaline demo: {self._place.said}", highlight=False, soft_wrap=True)
        workers = [*order_workers(self._place.ledger), *(each for one in self._patterns for each in one.workers)]
        definitions = [checkout, *(each for one in self._patterns for each in one.definitions)]
        async with demo_parts(self._place, listener, definitions, workers) as parts:
            self._announce(parts)
            await delete_left_schedules(parts.shop)
            left = await orders_on_record(parts.base)
            if left:
                text = f"{len(left)} orders exist from earlier runs; open ones are finished too"
                self._console.print(text, highlight=False)
            wanted = {plan.instance for plan in self._plans} | left
            if self._interactive:
                await self._until_interrupted(parts, wanted)
            else:
                await unless_ended(self._work(parts, wanted, 0.0), parts)
                self._complete = True
            await self._report(parts, wanted)
            if self._patterns:
                await unless_ended(self._play(parts), parts)
            if self._options.stay and self._complete and not self._interactive:
                await self._stay(parts)

    async def _stay(self, parts: Parts) -> None:
        """Serves until Ctrl-C."""
        text = f"\nStill serving: the dashboard is at {parts.address}/; Ctrl-C ends it."
        self._console.print(Text(text, style="bold"), soft_wrap=True)
        with suppress(asyncio.CancelledError):
            await any_ended(parts.running)

    def _announce(self, parts: Parts) -> None:
        settings = self._place.settings
        elsewhere = settings.port not in (0, int(parts.address.rpartition(":")[2]))
        asked = f" (port {settings.port} is taken)" if elsewhere else ""
        self._console.print(f"Dashboard {parts.address}/", highlight=False)
        self._console.print(f"API {parts.address}{asked}, for example {parts.address}/v1/instances", highlight=False)

    async def _work(self, parts: Parts, wanted: set[str], pause_seconds: float) -> None:
        """Starts the orders and waits until all have ended."""
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                await parts.shop.start_all(self._plans, pause_seconds=pause_seconds)
                await parts.shop.wait_for(wanted)
        except TimeoutError:
            seen = parts.shop.seen
            open_still = sorted(
                each for each in wanted if each not in seen or not Status(seen[each]["status"]).is_final
            )
            raise Failure(
                f"after {self._options.timeout_seconds:g} s {len(open_still)} orders have not ended, "
                f"for example {', '.join(open_still[:3])}; give more time with --timeout, or use --log-level info"
            ) from None

    async def _until_interrupted(self, parts: Parts, wanted: set[str]) -> None:
        """The same with a live table; Ctrl-C ends it, and the report follows."""

        def news() -> str:
            return f"a worker crashed {parts.crashes} times and was restarted"

        try:
            async with live_table(self._console, parts.shop, parts.address, news):
                await unless_ended(self._work(parts, wanted, _STAGGER_SECONDS), parts)
                self._complete = True
                await unless_ended(self._watch(parts), parts)
        except asyncio.CancelledError:
            if (this := asyncio.current_task()) is not None:
                this.uncancel()

    async def _watch(self, parts: Parts) -> None:
        while True:
            await parts.shop.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _report(self, parts: Parts, wanted: set[str]) -> None:
        await parts.shop.look()
        known = [instance for instance in wanted if instance in parts.shop.seen]
        orders = await parts.shop.details(sorted(known))
        ledger = Ledger(self._place.ledger)
        books = await asyncio.to_thread(
            lambda: Books(orders=ledger.orders(), open_charges=ledger.open_charges(), done_twice=ledger.done_twice())
        )
        outcome = Outcome(orders=orders, books=books, crashes=parts.crashes)
        print_outcomes(self._console, outcome)
        await self._trail(parts, outcome)
        self.wrong = verdict(outcome) if self._complete else []
        if not self._complete:
            text = (
                "\nInterrupted before all orders had ended: nothing was checked. With --log a later run finishes them."
            )
            self._console.print(Text(text, style="yellow"), soft_wrap=True)
        elif self.wrong:
            self._console.print(Text("\nCHECK FAILED: " + "; ".join(self.wrong), style="bold red"), soft_wrap=True)
        else:
            checked = "every charge was made once and shipped or refunded, nothing was done twice"
            self._console.print(Text(f"\nCheck passed: {checked}.", style="bold green"), soft_wrap=True)

    async def _play(self, parts: Parts) -> None:
        """Shows the patterns beyond the checkout, each with its own check."""
        base = parts.base
        async with Producer(self._place.settings, tracing=base.tracing) as producer:
            stage = Stage(
                producer=producer,
                shop=parts.shop,
                spans=parts.spans,
                console=self._console,
                run=self._run,
                clock=base.clock,
                timeout_seconds=self._options.timeout_seconds,
            )
            wrong = await play_all(self._patterns, stage)
        self.wrong += wrong
        if wrong:
            self._console.print(Text("\nCHECK FAILED: " + "; ".join(wrong), style="bold red"), soft_wrap=True)
        else:
            self._console.print(Text("\nCheck passed: every pattern did what it promises.", style="bold green"))

    async def _trail(self, parts: Parts, outcome: Outcome) -> None:
        """Prints the undo with the most steps, and of those the one with the fullest trace, if possible of this run."""
        own = {plan.instance for plan in self._plans}
        undone = [order for order in outcome.orders.values() if order["status"] == Status.COMPENSATED]
        undone.sort(key=lambda order: order["id"] not in own)
        if undone:
            spans = {order["id"]: parts.spans.of_trace(order["trace_id"] or "") for order in undone[:_TRAILS_MAX]}
            order = max(
                undone[:_TRAILS_MAX],
                key=lambda each: (each["id"] in own, len(each["steps"]), len(spans[each["id"]])),
            )
            print_trail(self._console, order, await parts.shop.history(order["id"]), spans[order["id"]])
