"""Web Push: the key of this server, what it seals of a subscription, and what is sent to a push service."""

from .key import Endpoint, PushKey, PushRequest

__all__ = ["Endpoint", "PushKey", "PushRequest"]
