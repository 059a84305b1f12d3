"""The desks of the loan approval. Some names trigger failures:

- an applicant whose name begins with ``poor-``: scoring rejects the loan;
- one whose name begins with ``grey-``: the file goes to a person's desk before it is decided;
- a loan whose id begins with ``blocked-``: it cannot be paid out, and is undone.
"""

from __future__ import annotations

from sagaline.sagas import Rejected
from sagaline.sagas.examples.loan_approval import (
    LARGE_CENTS,
    Appraise,
    Appraised,
    ContractDrawnUp,
    ContractVoided,
    DrawUpContract,
    FreeFunds,
    FundsFreed,
    FundsReserved,
    LookedThrough,
    LookThrough,
    PaidOut,
    PaymentRecalled,
    PayOut,
    RecallPayment,
    ReserveFunds,
    ScoreApplicant,
    Scored,
    VoidContract,
    appraise,
    draw_up_contract,
    free_funds,
    look_through,
    pay_out,
    recall_payment,
    reserve_funds,
    score_applicant,
    void_contract,
)
from sagaline.workers import Context, Inbox, Worker

from .books import note, take_back

__all__ = ["loan_workers"]


def loan_workers(inbox: Inbox) -> tuple[Worker, ...]:
    """Scoring and appraisal, the person's desk, the treasury and the contracts."""
    return _checks(inbox), _desk(inbox), _treasury(inbox), _contracts(inbox)


def _checks(inbox: Inbox) -> Worker:
    worker = Worker("loan-checks", inbox=inbox)

    @worker.handles(score_applicant)
    async def score(command: ScoreApplicant, ctx: Context) -> Scored | Rejected:
        if command.applicant.startswith("poor-"):
            return Rejected("the score is too low", code="low_score")
        if command.applicant.startswith("grey-"):
            appraised = ["appraisal"] if command.amount_cents >= LARGE_CENTS else []
            return Scored(points=55, desks=[*appraised, "review", "reserve", "contract", "pay"])
        return Scored(points=80)

    @worker.handles(appraise)
    async def value(command: Appraise, ctx: Context) -> Appraised:
        return Appraised(value_cents=command.amount_cents * 2)

    return worker


def _desk(inbox: Inbox) -> Worker:
    worker = Worker("loan-desk", inbox=inbox)

    @worker.handles(look_through)
    async def look(command: LookThrough, ctx: Context) -> LookedThrough:
        return LookedThrough(by="desk 4")

    return worker


def _treasury(inbox: Inbox) -> Worker:
    worker = Worker("treasury", inbox=inbox)

    @worker.handles(reserve_funds)
    async def reserve(command: ReserveFunds, ctx: Context) -> FundsReserved:
        note(ctx, "funds", command.loan_id)
        return FundsReserved(reservation=f"R-{command.loan_id}")

    @worker.handles(free_funds)
    async def free(command: FreeFunds, ctx: Context) -> FundsFreed:
        return FundsFreed(were_reserved=take_back(ctx))

    @worker.handles(pay_out)
    async def pay(command: PayOut, ctx: Context) -> PaidOut | Rejected:
        if command.loan_id.startswith("blocked-"):
            return Rejected("the account is blocked", code="blocked")
        note(ctx, "payment", command.loan_id)
        return PaidOut(transfer=f"T-{command.loan_id}")

    @worker.handles(recall_payment)
    async def recall(command: RecallPayment, ctx: Context) -> PaymentRecalled:
        return PaymentRecalled(was_paid=take_back(ctx))

    return worker


def _contracts(inbox: Inbox) -> Worker:
    worker = Worker("loan-contracts", inbox=inbox)

    @worker.handles(draw_up_contract)
    async def draw_up(command: DrawUpContract, ctx: Context) -> ContractDrawnUp:
        note(ctx, "contract", command.loan_id)
        return ContractDrawnUp(number=f"C-{command.loan_id}")

    @worker.handles(void_contract)
    async def void(command: VoidContract, ctx: Context) -> ContractVoided:
        return ContractVoided(was_drawn_up=take_back(ctx))

    return worker
