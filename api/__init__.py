"""The HTTP API: REST over a client, problems by RFC 9457, loopback unless a token guards it."""

from .app import create_app
from .serving import bind, serve, serving
from .settings import ApiSettings

__all__ = ["ApiSettings", "bind", "create_app", "serve", "serving"]
