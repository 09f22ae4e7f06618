"""What a webhook is signed with, as a configuration writes it."""

from __future__ import annotations

import base64

_WHSEC = "whsec_"


def signing_key(secret: str) -> bytes:
    """The bytes that sign: what stands in base64 after ``whsec_``, or any other text as it is.

    Raises ``ValueError``; the message does not hold the secret.
    """
    if not secret:
        raise ValueError("a secret is empty")
    if not secret.startswith(_WHSEC):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_WHSEC), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError('begins with "whsec_" but what follows is not base64')
    return key
