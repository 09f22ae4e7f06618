"""What was decided to be told, as pages and duties: what messages show, and what is said beside. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import msgspec

from notifier.core.alerts import Alert, Phase, What
from notifier.core.book import Book
from notifier.core.census import Affected
from notifier.core.draft import Draft
from notifier.core.messages import By, Message, is_past, page_text, reply, reply_name, root
from notifier.core.pages import Occurrence, Pages
from notifier.core.rules import Router
from notifier.models import Owed

_LOUD = (What.OPENED, What.REMINDER, What.SETTLED)


class Telling(msgspec.Struct, frozen=True):
    """What a poll tells people: alerts with what is now known of them, pages, and duties.

    ``pages`` maps the sink and id of a message to its text ('': it goes), ``messages`` the id to the message.
    """

    alerts: Mapping[str, Alert] = {}
    messages: Mapping[str, Message | None] = {}
    pages: Mapping[tuple[str, str], str] = {}
    owed: tuple[Owed, ...] = ()


class News(msgspec.Struct):
    """What is new of one message: keys of alerts by what happened, and how many came and went unsaid.

    ``said`` is what is to be told of alerts that go on.
    """

    message: Message
    is_new: bool = False
    opened: list[str] = []
    ended: list[str] = []
    said: dict[What, list[str]] = {}
    passed: int = 0


class Teller:
    """Makes them of the ``alerts`` as the poll leaves them."""

    def __init__(self, book: Book, alerts: Draft, router: Router, pages: Pages, now: str) -> None:
        self._book = book
        self._alerts = alerts
        self._router = router
        self._pages = pages
        self._now = now

    def tell(self, all_news: Mapping[str, News], affected: Affected) -> Telling:
        """What was planned, as pages and duties."""
        self._pages.affected = affected
        messages: dict[str, Message | None] = {}
        pages: dict[tuple[str, str], str] = {}
        owed: list[Owed] = []
        for news in all_news.values():
            message = msgspec.structs.replace(news.message, version=news.message.version + 1)
            if news.is_new or message.by is not By.NET:  # what was left to tell stays as it was told
                show = self._shown(message, news)
                messages[message.id] = message
                pages[message.sink, message.id] = page_text(message, show)
                owed += self._roots(message, news, show)
            owed += self._replies(message, news)
        for message in self._forgotten(all_news):
            messages[message.id] = None
            pages[message.sink, message.id] = ""
        return Telling(self._alerts.changed, messages, pages, tuple(owed))

    def _shown(self, message: Message, news: News) -> dict[str, Any]:
        """What a message shows now; that of the time in which nobody was disturbed never changes."""
        if message.by is By.NET:
            said = [*self._said(news.opened, What.OPENED), *self._said(news.ended, What.RESOLVED)]
            return self._pages.show(message, said, news.passed)
        return self._pages.show(message, self.members(message))

    @cached_property
    def _told_by(self) -> Mapping[str, Collection[str]]:
        """Of what this poll has changed; all of that is decided by the time it is asked for."""
        return self._alerts.told_by()

    def members(self, message: Message) -> list[Occurrence]:
        """The alerts that a message tells of: those that last, and those that ended in it."""
        found: list[Occurrence] = []
        for key in {*self._book.told_by(message.id), *self._told_by.get(message.id, ())}:
            alert = self._alerts.get(key)
            told = alert.told.get(message.place) if alert else None
            is_here = told is not None and told.message == message.id
            if alert and is_here and alert.phase is Phase.OPEN:
                found.append((alert, What.OPENED))
            elif alert and alert.ended and (is_here or alert.last.get(message.place) == message.id):
                found.append((alert.ended, What.RESOLVED))
        return sorted(found, key=_oldest_first)

    def _said(self, keys: Iterable[str], what: What) -> list[Occurrence]:
        alerts = ((self._alerts[key], self._alerts[key].ended) for key in keys)
        return [(ended if what is What.RESOLVED and ended else alert, what) for alert, ended in alerts]

    def _roots(self, message: Message, news: News, show: Mapping[str, Any]) -> Iterator[Owed]:
        """Post the message, or edit it where that can be done."""
        if news.is_new or self._router.can_edit(message.sink):
            yield root(message, str(show["type"]))

    def _replies(self, message: Message, news: News) -> Iterator[Owed]:
        """Say what is new, beside a message that is there."""
        if news.is_new:
            return
        said = {**news.said, What.OPENED: news.opened, What.RESOLVED: news.ended}
        for what in What:
            if keys := said.get(what):
                shown = self._pages.show(message, self._said(keys, what), is_reply=True)
                name = reply_name(what, ((self._alerts[key].id, self._alerts[key].said) for key in keys))
                yield reply(message, name, shown, is_loud=what in _LOUD)

    def _forgotten(self, all_news: Mapping[str, News]) -> Iterator[Message]:
        """Messages that nobody will hear of again."""
        for message in self._book.messages.values():
            is_old = message.id not in all_news and is_past(message, self._now)
            if is_old and not any(alert.phase is Phase.OPEN for alert, _ in self.members(message)):
                yield message


def _oldest_first(said: Occurrence) -> tuple[str, ...]:
    subject = said[0].subject
    return said[0].opened_at or "", subject.connection, subject.kind, subject.id
