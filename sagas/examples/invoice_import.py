"""Invoice import: counts the rows of a file, books every row by a saga of its own, and adds up the totals.

The import's state holds the file's name and the number of rows, never the rows: its document stays small for any file.
A few bad rows are tolerated and listed; with too many, every booked row is undone.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Saga, step
from sagaline.sagas.nodes import each

TOLERATED = 3


class CountRows(BaseModel):
    file: str


class RowsCounted(BaseModel):
    rows: int = Field(ge=0)


class BookRow(BaseModel):
    file: str
    row: int


class RowBooked(BaseModel):
    amount_cents: int


class UnbookRow(BaseModel):
    file: str
    row: int


class RowUnbooked(BaseModel):
    was_booked: bool


class Report(BaseModel):
    file: str
    booked: int
    total_cents: int


class Reported(BaseModel):
    report_id: str


count_rows = Contract("count-rows", CountRows, RowsCounted, queue="files")
book_row = Contract("book-row", BookRow, RowBooked, queue="bookkeeping")
unbook_row = Contract("unbook-row", UnbookRow, RowUnbooked, queue="bookkeeping")
report_import = Contract("report-import", Report, Reported, queue="files")


class InvoiceRow(BaseModel):
    """The state of the booking of one row."""

    file: str
    row: int
    booked: RowBooked | None = None


@step(book_row, into="booked")
def book(s: InvoiceRow) -> BookRow:
    return BookRow(file=s.file, row=s.row)


@book.undo(unbook_row)
def unbook(s: InvoiceRow) -> UnbookRow:
    return UnbookRow(file=s.file, row=s.row)


invoice_row = Saga("invoice-row", InvoiceRow, version=1, flow=[book])


class InvoiceImport(BaseModel):
    """The state of an import."""

    file: str = Field(min_length=1, max_length=256)
    counted: RowsCounted | None = None
    booked: int = 0
    total_cents: int = 0
    report: Reported | None = None


@step(count_rows, into="counted", timeout=timedelta(minutes=1), read_only=True)
def count(s: InvoiceImport) -> CountRows:
    return CountRows(file=s.file)


def rows(s: InvoiceImport) -> list[InvoiceRow]:
    """One part per row; a reference, not the content."""
    return [InvoiceRow(file=s.file, row=row) for row in range(s.counted.rows if s.counted else 0)]


def add(s: InvoiceImport, part: InvoiceRow) -> InvoiceImport:
    amount = part.booked.amount_cents if part.booked else 0
    return s.model_copy(update={"booked": s.booked + 1, "total_cents": s.total_cents + amount})


@step(report_import, into="report", read_only=True)
def report(s: InvoiceImport) -> Report:
    return Report(file=s.file, booked=s.booked, total_cents=s.total_cents)


invoice_import = Saga(
    "invoice-import",
    InvoiceImport,
    version=1,
    flow=[
        count,
        each(invoice_row, of=rows, gather=add, concurrency=20, tolerate=TOLERATED, name="rows"),
        report,
    ],
)
