"""What people are told at the end of a poll: by which messages, and what is kept for later. Pure.

What the readers of a place know of an alert is written down in the alert; what is to be said is how that
differs from the alert as it is. So nothing waits in a queue: whoever is not to be disturbed now is told the
difference when the time comes, and a poll that was cut off is made good by the next one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from notifier.config import parse_target
from notifier.core.alerts import TO_A_PROGRAM, Alert, End, Phase, Told, What, shifted
from notifier.core.book import Book
from notifier.core.census import Affected
from notifier.core.conditions import Condition
from notifier.core.draft import Draft
from notifier.core.events import Names, Origin
from notifier.core.grouping import STORM, Group, Grouping
from notifier.core.messages import By, Message, first_look_id, message_id
from notifier.core.pages import Pages
from notifier.core.quiet import IsHushed
from notifier.core.rules import Router
from notifier.core.telling import News, Teller, Telling

_SHOWN = (What.ACKNOWLEDGED, What.RELEASED, What.SETTLED)  # by the message, where it is not said


class Looked(msgspec.Struct, frozen=True):
    """The rules whose first look is yet to be taken, and those whose first look this poll took: its name."""

    waiting: Collection[str] = ()
    done: Mapping[str, str] = {}


class Desk:
    """One poll's telling, on the book as committed and what the poll has ``written`` since."""

    def __init__(
        self,
        book: Book,
        written: Mapping[str, Alert | None],
        conditions: Collection[Condition],
        router: Router,
        origin: Origin,
        names: Names,
        looked: Looked,
        is_hushed: IsHushed,
    ) -> None:
        self._book = book
        self._written = written
        self._rules = {condition.rule.name: condition.rule for condition in conditions}
        self._order = {condition.rule.name: at for at, condition in enumerate(conditions)}
        self._router = router
        self._now = origin.seen_at
        self._looked = looked
        self._is_hushed = is_hushed
        self._alerts = Draft(book, written)
        self._news: dict[str, News] = {}
        pages = Pages(conditions, router, origin, names, book.durations)
        self._teller = Teller(book, self._alerts, router, pages, origin.seen_at)

    def plan(self) -> list[Alert]:
        """Decide what is told. Returns the alerts that will be shown, so that their names can be learnt."""
        keys = sorted(filter(self._alerts.get, {*self._book.owed, *self._written}), key=self._rank)
        self._hand_over(keys)
        late: dict[str, list[str]] = defaultdict(list)  # place -> what was kept from it until now
        new: dict[str, list[str]] = defaultdict(list)  # place -> what it does not know
        for key in keys:
            self._look_at(key, new, late)
        for place in sorted(late):
            self._tell_late(place, late[place], new[place])
        for key in keys:
            self._leave(key)
        self._tell_first_looks()
        for place in sorted(new):
            self._group(place, new[place])
        self._gather_ends()
        return [alert for news in self._news.values() for alert, _ in self._teller.members(news.message)]

    def named(self) -> Iterator[Alert]:
        """Of the alerts that will be shown, those that are not only counted."""
        for news in self._news.values():
            if news.message.by is not By.FIRST_LOOK or news.said:
                yield from (alert for alert, _ in self._teller.members(news.message))

    def tell(self, affected: Affected) -> Telling:
        """What was planned, as pages and duties."""
        return self._teller.tell(self._news, affected)

    def _rank(self, key: str) -> tuple[int, str]:
        """The order of the rules, as in the configuration."""
        return self._order.get(self._alerts[key].rule, -1), key

    # --- what differs from what is known ---

    def _look_at(self, key: str, new: dict[str, list[str]], late: dict[str, list[str]]) -> None:
        """Sort an alert's places by what is owed there."""
        for place, told in self._alerts[key].told.items():
            alert = self._alerts[key]
            self._show_what_is_over(key, place)
            if not self._is_owed(alert, place):
                continue
            if self._is_hushed(place, alert) or self._is_known_as_unstable(alert, told):
                self._hush(key, place, told)
            elif told.hushed and self._has_settled(key) and told.message in self._book.messages:
                self._tell_settled(key, place, told.message)
            elif told.hushed:
                late[place].append(key)
            elif told.message not in self._book.messages:
                if self._is_counted(alert) and alert.phase is not Phase.OPEN:
                    self._alerts.know(key, place, None)  # it was there, and is over before it was counted
                else:
                    new[place].append(key)
            elif alert.phase is not Phase.OPEN:
                self._end(key, place, told.message)
            else:
                self._say(key, told.message)

    def _say(self, key: str, message: str, *, was_kept: bool = False) -> None:
        """A message that is there shows an alert as it is; what is to be said of it beside that is said."""
        news, alert = self._of(self._book.messages[message]), self._alerts[key]
        saying = alert.saying or (alert.kept if was_kept else None)
        if saying is not None:
            news.said.setdefault(saying, []).append(key)

    def _leave(self, key: str) -> None:
        """All places have been looked at: what could be said is, and what messages show is decided."""
        alert = self._alerts[key]
        is_hushed = any(told.hushed for told in alert.told.values())
        kept = (alert.saying if self._is_kept(key) else alert.kept) if is_hushed else None
        if (alert.saying, alert.kept, alert.stale) != (None, kept, False):
            self._alerts.change(key, saying=None, kept=kept, stale=False)

    def _is_kept(self, key: str) -> bool:
        """Whether what is to be said is kept while nobody is to be disturbed, and said after that.

        The next reminder comes by itself.
        """
        alert = self._alerts[key]
        rule = self._rules.get(alert.rule)
        never_reminds = rule is not None and rule.remind is None
        return alert.saying is What.SETTLED or (alert.saying is What.REMINDER and never_reminds)

    def _has_settled(self, key: str) -> bool:
        """Whether it was unstable until this poll."""
        before = self._book.get(key)
        return before is not None and before.unstable is not None and self._alerts[key].unstable is None

    def _tell_settled(self, key: str, place: str, message: str) -> None:
        """The last state of what was unstable is told, beside its message."""
        self._alerts.know(key, place, Told(message))
        if self._alerts[key].phase is Phase.OPEN:
            self._say(key, message, was_kept=True)
        else:
            self._end(key, place, message)

    def _is_owed(self, alert: Alert, place: str) -> bool:
        """Whether a place is owed more than it knows of an alert; a sink that is not there waits."""
        told = alert.told[place]
        is_there = told.message in self._book.messages
        if told.message == TO_A_PROGRAM or not self._router.is_for_people(parse_target(place).sink):
            return False
        if self._is_first_look(alert) and not is_there:
            return False  # it has a message of its own, at the end of that look
        is_known = alert.phase is Phase.OPEN and is_there and not told.hushed
        return not is_known or alert.saying is not None or alert.stale

    def _is_known_as_unstable(self, alert: Alert, told: Told) -> bool:
        """Whether the readers know that it comes and goes; they hear the rest once it has settled."""
        return alert.unstable is not None and told.message in self._book.messages

    def _hush(self, key: str, place: str, told: Told) -> None:
        """Nobody is to be disturbed now; but what is there already shows how things are."""
        is_news = self._alerts[key].phase is not Phase.OPEN or not told.message
        if is_news and not told.hushed:
            self._alerts.know(key, place, Told(told.message, hushed=True))
        is_other = (is_news and not told.hushed) or self._alerts[key].stale
        if not is_news and self._is_kept(key):
            self._alerts.know(key, place, Told(told.message, hushed=True))
        if is_other or self._alerts[key].saying in _SHOWN:
            self._show_anew(told.message)

    def _show_what_is_over(self, key: str, place: str) -> None:
        """An alert that opens anew before its end was told: its message shows that end."""
        before, alert = self._book.get(key), self._alerts[key]
        known = before.told.get(place) if before is not None else None
        if known is not None and alert.last.get(place) == known.message != alert.told[place].message:
            self._show_anew(known.message)

    def _is_first_look(self, alert: Alert) -> bool:
        """Whether it was found by a first look that is yet to be told, as one message, or was just taken."""
        is_looking = alert.rule in self._looked.waiting or alert.rule in self._looked.done
        return self._is_counted(alert) and is_looking and alert.phase is Phase.OPEN

    def _is_counted(self, alert: Alert) -> bool:
        """Whether it was there at a first look whose finds are told as one message."""
        rule = self._rules.get(alert.rule)
        return alert.existing and rule is not None and rule.include_existing == "summary"

    def _hand_over(self, keys: Iterable[str]) -> None:
        """Where an alert ended with its rule, and another's is about the same, its message goes on."""
        orphans = [
            key for key in keys if (end := self._alerts[key].ended) is not None and end.end is End.RULE
        ]
        if not orphans:
            return
        heirs: dict[tuple[Any, ...], str] = {}
        for key, alert in self._alerts.items():
            if alert.phase is Phase.OPEN:
                heirs.update(dict.fromkeys((_place_of(alert, place) for place in alert.told), key))
        for key in orphans:
            alert = self._alerts[key]
            for place, told in alert.told.items():
                heir = heirs.get(_place_of(alert, place))
                if heir is not None and alert.phase is not Phase.OPEN:
                    self._alerts.know(heir, place, told)
                    self._alerts.know(key, place, None)
                    self._show_anew(told.message)

    # --- by which messages it is told ---

    def _tell_late(self, place: str, keys: Collection[str], new: list[str]) -> None:
        """What was kept from a place until now: in one message, but for a single thing."""
        net: News | None = None
        new_to_them = [key for key in keys if self._is_news_late(key, place)]
        for key in keys:
            alert, told = self._alerts[key], self._alerts[key].told[place]
            is_known, is_open = told.message in self._book.messages, alert.phase is Phase.OPEN
            if len(new_to_them) > 1 and net is None:
                net = self._begin_net(place, new_to_them[0])
            self._alerts.know(key, place, Told(told.message))
            if is_open and is_known:  # that it ended and began again need not be said
                self._say(key, told.message, was_kept=True)
            elif is_known:
                self._end(key, place, told.message, said_by=net)
            elif is_open and net is not None:
                self._alerts.know(key, place, Told(net.message.id))
                net.opened.append(key)
            elif is_open:
                new.append(key)
            else:
                self._alerts.know(key, place, None)
                if net is not None:
                    net.passed += 1

    def _is_news_late(self, key: str, place: str) -> bool:
        """Whether there is something to say of what was kept from a place, but for what its message shows."""
        alert = self._alerts[key]
        rule = self._rules.get(alert.rule)
        is_known = alert.told[place].message in self._book.messages
        tells_end = rule is None or rule.resolve
        return not is_known or (alert.phase is not Phase.OPEN and tells_end)

    def _tell_first_looks(self) -> None:
        """One message for each place about what the first look of a rule found."""
        if not self._looked.done:
            return
        found: dict[tuple[int, str, str], list[str]] = defaultdict(list)
        for key, alert in self._alerts.items():
            if self._is_first_look(alert) and alert.rule in self._looked.done:
                for place, told in alert.told.items():
                    if told.message != TO_A_PROGRAM and told.message not in self._book.messages:
                        found[self._order[alert.rule], alert.rule, place].append(key)
        for (_, rule, place), keys in sorted(found.items()):
            look = self._looked.done[rule]
            id_ = first_look_id(place, rule, look)
            news = self._begin(place, rule, By.FIRST_LOOK, look, id_)
            news.opened += keys
            for key in keys:
                if self._alerts[key].told[place] != Told(id_):
                    self._alerts.know(key, place, Told(id_))

    def _group(self, place: str, keys: Collection[str]) -> None:
        """Put newcomers into messages that take them, or into new ones."""
        grouping = Grouping(place, self._now, self._rules, dict(self._alerts.items()), self._book)
        for group in grouping.groups(keys):
            message = group.message
            news = self._of(message) if message else self._begin_group(place, group)
            for key in group.keys:
                if self._alerts[key].phase is Phase.OPEN:
                    self._alerts.know(key, place, Told(news.message.id))
                    news.opened.append(key)
                else:  # it came and went before anybody could be told
                    self._end(key, place, news.message.id)

    def _gather_ends(self) -> None:
        """Where each end would be a message of its own, and there are too many, they are one."""
        by_place: dict[str, list[News]] = defaultdict(list)
        for news in self._news.values():
            if news.ended and not news.is_new and not self._router.can_edit(news.message.sink):
                by_place[news.message.place].append(news)
        for place, many in by_place.items():
            if len(many) > STORM:
                ended = [key for news in many for key in news.ended]
                self._begin_net(place, ended[0]).ended = ended
                for news in many:
                    news.ended = []

    def _end(self, key: str, place: str, message: str, said_by: News | None = None) -> None:
        """The readers of a place hear that an alert is over, beside its message or in another one."""
        alert = self._alerts[key]
        rule = self._rules.get(alert.rule)
        beside = self._news[message] if message in self._news else self._of(self._book.messages[message])
        if rule is None or rule.resolve:
            (said_by or beside).ended.append(key)
        self._alerts.know(key, place, None)
        self._alerts.change(key, last={**alert.last, place: message})

    def _begin_group(self, place: str, group: Group) -> News:
        """A new message that takes more of its kind for a while; it links to the one before."""
        first = self._alerts[group.keys[0]]
        rule = self._rules.get(group.rule)
        until = shifted(self._now, rule.group_window) if rule else self._now
        news = self._begin(
            place, group.rule, group.by, group.value, message_id(place, group.by, *_founded_by(first, place))
        )
        news.message = msgspec.structs.replace(news.message, until=until, previous=group.before)
        return news

    def _begin(self, place: str, rule: str, by: By, value: str, id_: str) -> News:
        target = parse_target(place)
        message = Message(id_, target.sink, target.target, rule, by, value, self._now, self._now)
        news = self._news[id_] = News(message, is_new=True)
        return news

    def _begin_net(self, place: str, founder: str) -> News:
        id_ = message_id(place, By.NET, *_founded_by(self._alerts[founder], place))
        return self._begin(place, "", By.NET, "", id_)

    def _of(self, message: Message) -> News:
        """The news of a message that is there."""
        return self._news.setdefault(message.id, News(message))

    def _show_anew(self, id_: str) -> None:
        """A message, if it is there, shows what has changed; nothing is said of it."""
        if id_ in self._book.messages:
            self._of(self._book.messages[id_])


def _founded_by(alert: Alert, place: str) -> tuple[str, ...]:
    """What tells the first alert of a message from all others, at this point of its course.

    A message by which it was known there, and of which somebody has deleted the page, is another one.
    """
    occurrence = alert if alert.id else alert.ended or alert
    return occurrence.id, str(alert.said), alert.told.get(place, Told()).message


def _place_of(alert: Alert, place: str) -> tuple[Any, ...]:
    """An entity at a place."""
    return alert.subject.connection, alert.subject.kind, alert.subject.id, place
