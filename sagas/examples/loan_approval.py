"""Loan approval: a routing slip. The file goes from desk to desk; each desk forwards it to the next one.

Large loans are also appraised; that is planned at the start. A score in the grey zone sends the file to a person's desk
before the decision: the scoring desk revises the stops that follow. When the loan cannot be paid out, the contract is
voided, the reserved funds are freed, and a payment that may have been sent is recalled.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Retry
from sagaline.sagas.routing_slip import AnyStop, Kept, RoutingSlip, stop

LARGE_CENTS = 5_000_000


class Application(BaseModel):
    id: str = Field(min_length=1, max_length=64)
    applicant: str = Field(min_length=1, max_length=128)
    amount_cents: int = Field(gt=0)


class ScoreApplicant(BaseModel):
    applicant: str
    amount_cents: int


class Scored(BaseModel):
    points: int
    desks: list[str] | None = None


class Appraise(BaseModel):
    loan_id: str
    amount_cents: int


class Appraised(BaseModel):
    value_cents: int


class LookThrough(BaseModel):
    loan_id: str
    points: int


class LookedThrough(BaseModel):
    by: str


class ReserveFunds(BaseModel):
    loan_id: str
    amount_cents: int


class FundsReserved(BaseModel):
    reservation: str


class FreeFunds(BaseModel):
    loan_id: str
    reservation: str | None


class FundsFreed(BaseModel):
    were_reserved: bool


class DrawUpContract(BaseModel):
    loan_id: str
    points: int


class ContractDrawnUp(BaseModel):
    number: str


class VoidContract(BaseModel):
    loan_id: str


class ContractVoided(BaseModel):
    was_drawn_up: bool


class PayOut(BaseModel):
    loan_id: str
    reservation: str


class PaidOut(BaseModel):
    transfer: str


class RecallPayment(BaseModel):
    loan_id: str


class PaymentRecalled(BaseModel):
    was_paid: bool


score_applicant = Contract("score-applicant", ScoreApplicant, Scored, queue="scoring")
appraise = Contract("appraise", Appraise, Appraised, queue="appraisal")
look_through = Contract("look-through", LookThrough, LookedThrough, queue="desk")
reserve_funds = Contract("reserve-funds", ReserveFunds, FundsReserved, queue="treasury")
free_funds = Contract("free-funds", FreeFunds, FundsFreed, queue="treasury")
draw_up_contract = Contract("draw-up-contract", DrawUpContract, ContractDrawnUp, queue="contracts")
void_contract = Contract("void-contract", VoidContract, ContractVoided, queue="contracts")
pay_out = Contract("pay-out", PayOut, PaidOut, queue="treasury")
recall_payment = Contract("recall-payment", RecallPayment, PaymentRecalled, queue="treasury")


class Loan(BaseModel):
    """The state of a loan: it is sent from desk to desk."""

    application: Application
    score: Scored | None = None
    appraisal: Appraised | None = None
    review: LookedThrough | None = None
    funds: FundsReserved | None = None
    contract: ContractDrawnUp | None = None
    paid: PaidOut | None = None


_LOAN = {"loan_id": "application.id"}
_AMOUNT = {"amount_cents": "application.amount_cents"}

score = stop(
    score_applicant,
    into="score",
    takes={"applicant": "application.applicant", **_AMOUNT},
    revises="desks",
    name="score",
    read_only=True,
)
appraisal = stop(appraise, into="appraisal", takes={**_LOAN, **_AMOUNT}, name="appraisal", read_only=True)
review = stop(look_through, into="review", takes={**_LOAN, "points": "score.points"}, name="review", read_only=True)
reserve = stop(reserve_funds, into="funds", takes={**_LOAN, **_AMOUNT}, name="reserve")
contract = stop(draw_up_contract, into="contract", takes={**_LOAN, "points": "score.points"}, name="contract")
pay = stop(
    pay_out,
    into="paid",
    takes={**_LOAN, "reservation": "funds.reservation"},
    name="pay",
    timeout=timedelta(minutes=2),
    retry=Retry(max_attempts=5),
)


@reserve.undo(free_funds)
def free(kept: Kept[ReserveFunds, FundsReserved]) -> FreeFunds:
    loan_id = kept.command.loan_id if kept.command else ""
    return FreeFunds(loan_id=loan_id, reservation=kept.reply.reservation if kept.reply else None)


@contract.undo(void_contract)
def void(kept: Kept[DrawUpContract, ContractDrawnUp]) -> VoidContract:
    return VoidContract(loan_id=kept.command.loan_id if kept.command else "")


@pay.undo(recall_payment)
def recall(kept: Kept[PayOut, PaidOut]) -> RecallPayment:
    return RecallPayment(loan_id=kept.command.loan_id if kept.command else "")


loan_approval = RoutingSlip(
    "loan-approval", Loan, version=1, stops=[score, appraisal, review, reserve, contract, pay], hops=3
)


@loan_approval.plan
def desks(s: Loan) -> Sequence[AnyStop]:
    first = [score, appraisal] if s.application.amount_cents >= LARGE_CENTS else [score]
    return [*first, reserve, contract, pay]
