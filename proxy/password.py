"""The password of a site whose upstream has no login. It is made here, so that it is a strong one.

100 random bits cannot be guessed, nor found from their hash. So a quick hash does, which a Pi can afford at each
request, and other users of the machine may read it, as nginx's workers must.
"""

import base64
import hashlib
import secrets

USER = "solarshed"

# 32 signs, without those that are taken for one another.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 5, 4
_SALT_BYTES = 8


def make() -> str:
    """A new one, to be typed: five groups of four."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def hashed(password: str) -> str:
    """The line of nginx's password file: salted SHA-1, which each nginx knows on every system."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{USER}:{{SSHA}}{base64.b64encode(digest + salt).decode()}\n"
