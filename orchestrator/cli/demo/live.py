"""The live view on a terminal: the newest orders and the address of the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..output import status_text
from ..remote import Json
from .scenario import story_of
from .shop import Shop

__all__ = ["live_table", "orders_table"]

_FRAME_SECONDS = 0.25
_LINES_SPARE = 10
_ORDER_CHARS = 16
_STATUS_CHARS = 12


@asynccontextmanager
async def live_table(console: Console, shop: Shop, address: str, news: Callable[[], str]) -> AsyncIterator[None]:
    """Shows the table inside the block.

    Args:
        console: the terminal.
        shop: its ``seen`` is shown.
        address: of the API.
        news: one line about the rest of the process.
    """
    with Live(console=console, refresh_per_second=8, auto_refresh=False) as live:

        async def draw() -> None:
            while True:
                table = orders_table(shop, max(5, console.height - _LINES_SPARE))
                live.update(Group(table, Text(f"{news()}\nAPI {address}; Ctrl-C ends", style="dim")), refresh=True)
                await asyncio.sleep(_FRAME_SECONDS)

        drawing = asyncio.create_task(draw(), name="live table")
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])


def orders_table(shop: Shop, lines_max: int) -> Table:
    """Orders by id; if there are too many, those that changed last."""
    newest = sorted(shop.seen.values(), key=lambda order: order["updated_at"], reverse=True)[:lines_max]
    hidden = len(shop.seen) - len(newest)
    table = Table(caption=f"and {hidden} more" if hidden else None, caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("order", no_wrap=True, min_width=_ORDER_CHARS)
    table.add_column("status", no_wrap=True, min_width=_STATUS_CHARS)
    table.add_column("planned", no_wrap=True, overflow="ellipsis", ratio=1)
    for order in sorted(newest, key=lambda order: (order["created_at"], order["id"])):
        table.add_row(
            Text(order["key"]),
            status_text(order["status"], paused=order["paused"]),
            Text(f"{story_of(order)}{_why(order)}"),
        )
    return table


def _why(order: Json) -> str:
    cause = order["attention"] or order["cause"]
    return f": {cause['message']}" if cause else ""
