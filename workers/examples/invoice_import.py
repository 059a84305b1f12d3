"""The workers of the invoice import. A file ``<rows>-<bad>.csv`` has ``<rows>`` rows; the first ``<bad>`` are bad."""

from __future__ import annotations

from sagaline.sagas import Rejected
from sagaline.sagas.examples.invoice_import import (
    BookRow,
    CountRows,
    Report,
    Reported,
    RowBooked,
    RowsCounted,
    RowUnbooked,
    UnbookRow,
    book_row,
    count_rows,
    report_import,
    unbook_row,
)
from sagaline.workers import Context, Inbox, Worker

from .books import note, take_back

__all__ = ["invoice_workers"]


def invoice_workers(inbox: Inbox) -> tuple[Worker, ...]:
    """Files and bookkeeping."""
    return _files(inbox), _bookkeeping(inbox)


def _shape(file: str) -> tuple[int, int]:
    rows, _, bad = file.removesuffix(".csv").partition("-")
    return int(rows), int(bad or 0)


def _files(inbox: Inbox) -> Worker:
    worker = Worker("files", inbox=inbox)

    @worker.handles(count_rows)
    async def count(command: CountRows, ctx: Context) -> RowsCounted | Rejected:
        try:
            return RowsCounted(rows=_shape(command.file)[0])
        except ValueError:
            return Rejected(f"{command.file} is not a file of invoices", code="not_invoices")

    @worker.handles(report_import)
    async def report(command: Report, ctx: Context) -> Reported:
        note(ctx, "report", command.file)
        return Reported(report_id=f"R-{command.file}-{command.booked}")

    return worker


def _bookkeeping(inbox: Inbox) -> Worker:
    worker = Worker("bookkeeping", inbox=inbox)

    @worker.handles(book_row)
    async def book(command: BookRow, ctx: Context) -> RowBooked | Rejected:
        if command.row < _shape(command.file)[1]:
            return Rejected(f"row {command.row} has no amount", code="bad_row")
        note(ctx, "row", command.file)
        return RowBooked(amount_cents=100 + command.row)

    @worker.handles(unbook_row)
    async def unbook(command: UnbookRow, ctx: Context) -> RowUnbooked:
        return RowUnbooked(was_booked=take_back(ctx))

    return worker
