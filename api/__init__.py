"""The HTTP API: REST over a client, errors as RFC 9457 problems; without a token only on loopback."""

from .app import create_app
from .serving import bind, serve, serving
from .settings import ApiSettings

__all__ = ["ApiSettings", "bind", "create_app", "serve", "serving"]
