"""``KeyRing``: keys of the settings with ids, the newest first. Each seals what is new; older ones still open.

What is sealed names its key, so a key can be replaced at any time, and is needed as long as something names it.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError, MissingKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["KeyRing"]

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class KeyRing:
    """Seals by AES-256-GCM with random nonces. ``setting`` names where the keys are from, for messages.

    Args:
        keys: ``id:key`` each, the key as base64 of 32 bytes; the first one seals.
        setting: the environment variable.

    Raises:
        ConfigurationError: a key cannot be used, or the library is missing; no message has a key.
    """

    def __init__(self, keys: Sequence[str], setting: str) -> None:
        self._setting = setting
        self._keys: dict[str, AESGCM] = {}
        for number, key in enumerate(keys, start=1):
            id, _, text = key.partition(":")
            at = f"key {number} of {setting}"
            if _ID.fullmatch(id) is None:
                raise ConfigurationError(f"{at} has no id; write id:key, with an id of letters, digits, '.', '_', '-'")
            if id in self._keys:
                raise ConfigurationError(f"{at} has the id of another one, {id!r}; give each an id of its own")
            self._keys[id] = _cipher(text, f"{at}, {id!r},")

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def newest(self) -> str:
        """The id of the key that seals.

        Raises:
            ConfigurationError: there is none.
        """
        if not self._keys:
            raise ConfigurationError(
                f"there is no key to seal with: set {self._setting} to the same in every process, such as "
                f"""'["2026-11:'$(openssl rand -base64 32)'"]'"""
            )
        return next(iter(self._keys))

    def seal(self, value: bytes, bound_to: bytes) -> tuple[str, bytes]:
        """The id of the key, and the sealed value. It can only be opened where it is bound to the same.

        Raises:
            ConfigurationError: there is no key.
        """
        id, nonce = self.newest, secrets.token_bytes(_NONCE_BYTES)
        return id, nonce + self._keys[id].encrypt(nonce, value, bound_to)

    def open(self, id: str, sealed: bytes, bound_to: bytes) -> bytes:
        """What was sealed.

        Raises:
            MissingKey: there is no key with this id.
            ValueError: it was altered, is bound to something else, or another key has this id.
        """
        if (key := self._keys.get(id)) is None:
            raise MissingKey(id, self._setting)
        from cryptography.exceptions import InvalidTag

        try:
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError) as error:
            raise ValueError(
                f"it was altered or moved, or the key {id!r} of {self._setting} is not the one that sealed it: first "
                "compare that key with the one of the other processes"
            ) from error


def _cipher(text: str, at: str) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError as error:
        raise ConfigurationError("sealing needs a library: pip install 'sagaline[encryption]'") from error
    try:
        key = b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{at} is not base64 of {_KEY_BYTES} bytes; make one with: openssl rand -base64 32")
    return AESGCM(key)
