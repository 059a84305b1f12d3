"""Requests to addresses that users register: webhooks and push endpoints. Everything that leaves goes through here."""

from .requests import Answered, Egress, EgressDenied, EgressFailed, EgressSettings, Guards, check_url

__all__ = ["Answered", "Egress", "EgressDenied", "EgressFailed", "EgressSettings", "Guards", "check_url"]
