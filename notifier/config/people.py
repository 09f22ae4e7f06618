"""How people in Slack are written: by the id of a member or a user group, or by an e-mail address.

Only what has one of these forms is ever made a mention, so no other text can become one.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from notifier.config.fields import text

OWNER = "owner"  # whoever owns the entity
EVERYBODY = ("here", "channel")
_MEMBER = re.compile(r"[UW][A-Z0-9]{6,20}", re.ASCII)
_GROUP = re.compile(r"S[A-Z0-9]{6,20}", re.ASCII)
_EMAIL = re.compile(r"[a-z0-9._%+'-]{1,64}@([a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}", re.ASCII)


def is_member(word: str) -> bool:
    """Whether this is the id of a member."""
    return _MEMBER.fullmatch(word) is not None


def is_group(word: str) -> bool:
    """Whether this is the id of a user group."""
    return _GROUP.fullmatch(word) is not None


def is_email(word: str) -> bool:
    """Whether this is an e-mail address, in small letters."""
    return _EMAIL.fullmatch(word) is not None


def is_person(word: str) -> bool:
    """Whether this is one person."""
    return is_member(word) or is_email(word)


def person(value: Any) -> str:
    """A member's id as it is, or an e-mail address in small letters. Raises ``ValueError``."""
    word = text(value)
    if is_member(word):
        return word
    if not is_email(word.lower()):
        raise ValueError("is neither an e-mail address nor the id of a Slack member (U0123456789)")
    return word.lower()


def _mention(value: Any) -> str:
    word = text(value)
    if word not in {OWNER, *EVERYBODY} and not is_member(word) and not is_group(word):
        raise ValueError(
            "mentions nobody; write owner, here, channel, or the id of a member or user group in Slack "
            "(U0123456789, S0123456789)"
        )
    return word


Mention = Annotated[
    str,
    BeforeValidator(_mention),
    WithJsonSchema(
        {"type": "string", "pattern": rf"^({OWNER}|{'|'.join(EVERYBODY)}|[SUW][A-Z0-9]{{6,20}})$"}
    ),
]
