"""An event's body -> a Slack message: Block Kit blocks, and the text that notifications show. Pure.

Read from top to bottom by somebody in a hurry: who and what (header), what moved and where (section), what
to do (the rule's note), since when and where to click, and last the ids to copy. Links are text, not
buttons: a button makes Slack call the app, and show a warning where the app answers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from slack_sdk.models.blocks import (
    Block,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)

from notifier.sinks.slack_text import escape, link, mrkdwn, note, plain
from notifier.sinks.values import utc
from notifier.sinks.wording import Told, tell
from notifier.sinks.wording_alert import Holder

# Documented: header 150, text of a section 3,000, 10 fields of 2,000, 10 elements in a context. We stay
# below, because nobody reads more.
_HEADER, _SECTION, _FIELD, _FIELDS, _TITLE, _LINKS, _CONTEXT = 150, 2900, 300, 8, 400, 5, 1900
_MARKS = {
    "info": "\u2139\ufe0f",
    "warning": "\u26a0\ufe0f",
    "critical": "\U0001f6a8",
    "completed": "\u2705",
    "moved": "\U0001f535",
    "ended": "\u26aa",
}


_ENDINGS = {"completed", "moved", "ended"}
_LINE = 280
_REPEAT = "May be a repeat: Slack gave no answer to an earlier attempt"


class Message(msgspec.Struct, frozen=True):
    """What is posted. ``text`` is the fallback: notifications and screen readers show it."""

    text: str
    blocks: list[dict[str, Any]]


def render(
    body: Any,
    *,
    previous: str | None = None,
    is_repeat: bool = False,
    mentions: str = "",
    missed: str | None = None,
) -> Message:
    """The message for one event body, within Slack's limits and inert whatever the body holds.

    ``previous`` is the address of a message to link to. ``is_repeat``: it may have been posted before.
    ``mentions`` is mrkdwn of ``slack_people``. ``missed``: whom it is for, who cannot be reached.
    """
    told = tell(body)
    mark = _MARKS.get(told.severity, _MARKS["info"])
    blocks: list[Block] = [HeaderBlock(text=_plain(f"{mark} {told.title}", _HEADER))]
    blocks += _for_whom(mentions, missed)
    section = _section(told)
    if section is not None:
        blocks.append(section)
    if told.lines:
        blocks.append(_lines(told))
    if told.note:
        said = "*What to do:* " + note(told.note, _SECTION)
        blocks.append(SectionBlock(text=MarkdownTextObject(text=said, verbatim=True)))
    before = link(previous, "the message before") if previous else None
    again = _REPEAT if is_repeat else None
    line = " · ".join(part for part in (*_when_and_links(told), before, again) if part)
    if line:
        blocks.append(ContextBlock(elements=[MarkdownTextObject(text=line, verbatim=True)]))
    if told.ids:
        ids = " · ".join(f"{label} {value}" for label, value in told.ids)
        blocks.append(ContextBlock(elements=[_plain(ids, _CONTEXT)]))
    return Message(f"{mark} {_fallback(told)}", [block.to_dict() for block in blocks])


def reply(body: Any, *, is_repeat: bool = False, mentions: str = "") -> Message:
    """The same in short, for the thread of a message."""
    told = tell(body)
    mark = _MARKS.get(told.severity, _MARKS["info"])
    said = f"{mark} *{mrkdwn(told.title, _TITLE)}*"
    if told.change:
        said += f"\n{mrkdwn(told.change, _SECTION - 2 * _TITLE)}"
    blocks: list[Block] = [SectionBlock(text=MarkdownTextObject(text=said, verbatim=True))]
    blocks += _for_whom(mentions)
    if told.lines:
        blocks.append(_lines(told))
    if told.holder is not None:
        holder = MarkdownTextObject(text=_holder(told.holder), verbatim=True)
        blocks.append(ContextBlock(elements=[holder]))
    if is_repeat:
        blocks.append(ContextBlock(elements=[_plain(_REPEAT, _CONTEXT)]))
    return Message(f"{mark} {_fallback(told)}", [block.to_dict() for block in blocks])


def _for_whom(mentions: str, missed: str | None = None) -> list[Block]:
    """Who is to look at it."""
    blocks: list[Block] = []
    if missed:
        said = f"This is for {missed}, who cannot be reached in Slack"
        blocks.append(ContextBlock(elements=[_plain(said, _CONTEXT)]))
    if mentions:
        blocks.append(SectionBlock(text=MarkdownTextObject(text=mentions, verbatim=True)))
    return blocks


def _lines(told: Told) -> SectionBlock:
    """What is told side by side, a line each."""
    lines = [f"{_MARKS[mark]} {text}" if mark in _ENDINGS else f"• {text}" for text, mark in told.lines]
    shown = [plain(line, _LINE) for line in lines]
    return SectionBlock(text=PlainTextObject(text=_fitting(shown), emoji=False))


def _fitting(lines: list[str]) -> str:
    """As many whole lines as a section holds."""
    text = ""
    for at, line in enumerate(lines):
        longer = f"{text}\n{line}" if text else line
        if len(escape(longer).encode("utf-16-le")) // 2 > _SECTION:
            return f"{text}\nand {len(lines) - at} more"
        text = longer
    return text


def _section(told: Told) -> SectionBlock | None:
    if not told.change and not told.facts:
        return None
    fields = [_plain(f"{label}: {value}", _FIELD) for label, value in told.facts[:_FIELDS]]
    text = _plain(told.change, _SECTION) if told.change else None
    return SectionBlock(text=text, fields=list(fields) or None)


def _fallback(told: Told) -> str:
    title = mrkdwn(told.title, _TITLE)
    return f"{title} ({mrkdwn(told.change, _TITLE)})" if told.change else title


def _when_and_links(told: Told) -> Sequence[str]:
    parts = [_holder(told.holder)] if told.holder is not None else []
    if told.began is not None:
        parts.append(_span(told.began, "Began between", "So since {} or longer"))
    elif told.seen is not None:
        parts.append(_span(told.seen, "Happened between", "Seen at {}"))
    links = (link(url, label) for label, url in told.links[:_LINKS])
    return [*parts, *(one for one in links if one is not None)]


def _holder(holder: Holder) -> str:
    """``Sam has it since Tuesday; nothing has moved since``."""
    said = f"{mrkdwn(holder.by, _FIELD)} has it since {_date(holder.since)}"
    moved = "it has moved since" if holder.moved else "nothing has moved since"
    if holder.until is None:
        return f"{said}; {moved}"
    until = holder.until if isinstance(holder.until, str) else f"until {_date(holder.until)}"
    return f"{said}; {moved}; no reminder {until}"


def _span(looks: tuple[datetime | None, datetime], between: str, alone: str) -> str:
    """Two looks, or in other words the only one that is known."""
    before, after = looks
    return alone.format(_date(after)) if before is None else f"{between} {_date(before)} and {_date(after)}"


def _date(at: datetime) -> str:
    """The moment in the reader's own time zone; UTC where a client cannot say it."""
    if at.timestamp() < 0:
        return utc(at)
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{utc(at)}>"


def _plain(text: str, limit: int) -> PlainTextObject:
    return PlainTextObject(text=plain(text, limit), emoji=False)
