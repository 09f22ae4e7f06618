"""Any text -> text in which Slack finds nothing to obey. Pure.

Blocks show the source's text in ``plain_text`` objects, which Slack does not parse; the fallback text and a
few lines of our own are mrkdwn. Both are made inert: a word joiner (invisible, U+2060) is put into whatever
could be read as a mention, link or emoji code, so that it stays what it looks like even where a client
parses more than is documented. Mrkdwn is also escaped as Slack documents it (``&amp; &lt; &gt;``).

Lengths are counted as the worst of what Slack may count: UTF-16 units of the escaped text.
"""

from __future__ import annotations

import re

from notifier.sinks.values import clean

JOINER = "\u2060"
ELLIPSIS = "…"
_TRIGGER = re.compile(
    r"(?<=<)(?=[!@#])"  # <!channel> <@U1> <#C1>
    r"|(?<=@)(?=\w)"  # @here, and addresses of mail
    r"|(?<=:)(?=//)"  # http://
    r"|(?<=mailto)(?=:)|(?<=tel)(?=:)"
    r"|(?<=www)(?=\.)"  # whatever stands before it: a "_" is markup, and is set apart below
    r"|(?<=:)(?=[\w+'-]+:)"  # :fire:
    r"|(?<=#)(?=\w)",  # #general
    re.IGNORECASE,
)
_MARKUP = re.compile(r"([*_~`])")
_URL = re.compile(r"https://[^\s<>|\"'`()\[\]{}\\^]+[^\s<>|\"'`()\[\]{}\\^.,;:!?]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: str, limit: int, *, keep_lines: bool = False) -> str:
    """Inert text for a ``plain_text`` object, at most ``limit`` long; a space where nothing is left."""
    return _clip(_joined(clean(text, keep_lines=keep_lines)), limit) or " "


def mrkdwn(text: str, limit: int, *, keep_lines: bool = False) -> str:
    """Inert, escaped text for mrkdwn and for a message's fallback, at most ``limit`` long."""
    joined = _MARKUP.sub(rf"{JOINER}\1{JOINER}", _joined(clean(text, keep_lines=keep_lines)))
    return escape(_clip(joined, limit)) or " "


def escape(text: str) -> str:
    """Slack's three characters, escaped."""
    return "".join(_ESCAPES.get(char, char) for char in text)


def link(url: str, label: str) -> str | None:
    """A mrkdwn link, or None where the address holds anything that could end the link early."""
    if not url.startswith(("https://", "http://")):
        return None
    if len(url) > 2000 or re.search(r"[\s<>|\x00-\x1f\x7f]", url) or not url.isascii():  # noqa: PLR2004
        return None
    return f"<{escape(url)}|{mrkdwn(label, 75)}>"


def note(text: str, limit: int) -> str:
    """A note of the operator's own: inert but for its ``https://`` addresses, which become links."""
    text = _clip(clean(text, keep_lines=True), limit // 2)
    parts, start = [], 0
    for found in _URL.finditer(text):
        parts += [_outside(text[start : found.start()]), f"<{escape(found[0])}>"]
        start = found.end()
    parts.append(_outside(text[start:]))
    whole = "".join(parts)
    return whole if len(whole) <= limit else mrkdwn(text, limit, keep_lines=True)


def _outside(text: str) -> str:
    return escape(_MARKUP.sub(rf"{JOINER}\1{JOINER}", _joined(text)))


def _joined(text: str) -> str:
    return _TRIGGER.sub(JOINER, text)


def _clip(text: str, limit: int) -> str:
    """Cut where the worst count of the text passes the limit, and say so with an ellipsis."""
    length = 0
    end = 0  # how much fits with an ellipsis behind it
    for index, char in enumerate(text):
        length += len(_ESCAPES.get(char, "")) or (2 if char > "\uffff" else 1)
        if length > limit:
            return text[:end].rstrip() + ELLIPSIS
        if length < limit:
            end = index + 1
    return text
