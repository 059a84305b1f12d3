"""Requests to addresses that users register: webhooks and push endpoints."""

from .egress import Answered, Egress, EgressDenied, EgressFailed, EgressSettings

__all__ = ["Answered", "Egress", "EgressDenied", "EgressFailed", "EgressSettings"]
