"""The workers of the order checkout, for processes of their own: their books stand where ``CHECKOUT_LEDGER`` says.

CHECKOUT_LEDGER=ledger.db saga worker checkout_workers:payment
"""

from __future__ import annotations

import os

from sagaline.workers.examples.order_checkout import order_workers

inventory, payment, shipping = order_workers(os.environ["CHECKOUT_LEDGER"])
