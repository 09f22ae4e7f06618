"""The places in Slack that a configuration leads to beside each sink's own channel, and trying them.

Channels and people of other places than a sink's own fail by themselves, message by message, so that it is
``check --online`` that has to find them. Nothing is posted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.text import Text

from notifier.cli.common import counted, out, say
from notifier.config import Config, RuleConfig, Target
from notifier.config.people import OWNER, is_email, is_member
from notifier.config.sinks import SlackConfig
from notifier.core.owners import Owners
from notifier.core.rules import reach_of
from notifier.errors import DeliveryError, SinkFault, TemporaryFailure
from notifier.sinks.contract import Sink
from notifier.sinks.preview import PreviewSink
from notifier.sinks.slack import SlackSink

MOST = 50  # so many calls Slack takes a minute of each kind that this makes

Places = Mapping[Target, str]  # and who names it


def places(config: Config, owners: Owners) -> Places:
    """The places that rules, digests, reports and the table of owners name, each with who does."""
    found: dict[Target, str] = {}
    for target, who in [*_named(config), *_of_owners(config, owners)]:
        sink = config.sinks.get(target.sink)
        if isinstance(sink, SlackConfig) and sink.token and target.target not in {None, sink.channel}:
            found.setdefault(target, who)
    return dict(sorted(found.items(), key=lambda item: _order(item[0].target or "")))


async def try_places(sinks: Mapping[str, Sink], asked: Places) -> bool:
    """Try at most :data:`MOST`, and print how each stands; whether none was found wrong.

    ``sinks`` are those that answer: what is in others is not tried.
    """
    is_fine, tried, left = True, 0, 0
    ended: set[str] = set()
    for target, who in asked.items():
        sink = sinks.get(target.sink)
        if isinstance(sink, PreviewSink) or target.target is None:
            continue
        if not isinstance(sink, SlackSink) or tried >= MOST or target.sink in ended:
            left += 1
            continue
        tried += 1
        what = f"{target.sink}#{target.target.removeprefix('#')} ({who})"
        try:
            answer = await sink.probe_place(target.target)
        except DeliveryError as error:
            if _ends(error):
                ended.add(target.sink)
            is_fine = False
            out.print(Text.assemble(("FAILED ", "bold red"), f"{what}: {error}"))
        else:
            out.print(Text.assemble(("ok     ", "bold green"), f"{what}: {answer}"))
    if left:
        say(f"not tried: {counted(left, 'more place', 'more places')} in Slack")
    return is_fine


def _ends(error: DeliveryError) -> bool:
    """Whether the token cannot ask more, or Slack does not answer now."""
    if isinstance(error, TemporaryFailure):
        return error.throttled or error.unreachable or error.may_have_arrived
    return isinstance(error, SinkFault)


def unmentioned(config: Config, owners: Owners) -> Iterator[str]:
    """What an incoming webhook cannot do with this table."""
    if not any(is_email(one.owner) for one in owners.everyone()):
        return
    for name in sorted({*_mentioning(config, lambda sink: sink.webhook_url is not None)}):
        yield (
            f"sinks.{name}: an incoming webhook cannot find who an e-mail address belongs to: owners that "
            "the table names so are shown, and not mentioned; write the ids of members, or use a token"
        )


def _order(place: str) -> tuple[bool, bool]:
    """Channels, then members, then addresses: where these cannot be asked for, the others have been."""
    return is_email(place), is_member(place)


def _named(config: Config) -> Iterator[tuple[Target, str]]:
    for rule in config.rules:
        yield from ((target, f"rule {rule.name}") for target in (*rule.notify, *rule.fallback))
    for digest in config.digests:
        yield from ((target, f"digest {digest.name}") for target in digest.notify)
    yield from ((target, "self_reports") for target in config.self_reports)
    if config.owners is not None and config.owners.fallback is not None:
        yield config.owners.fallback, "owners.fallback"


def _of_owners(config: Config, owners: Owners) -> Iterator[tuple[Target, str]]:
    """Where the table's owners are reached, and the people in it who are mentioned."""
    reach = reach_of(config)
    if reach is not None and any(OWNER in _sinks(rule) for rule in config.rules):
        yield from ((reach.of(one), "owners") for one in owners.everyone())
    people = [one.owner for one in owners.everyone() if one.owner]
    for name in _mentioning(config, lambda sink: sink.token is not None):
        yield from ((Target(name, person), "owners") for person in people)


def _mentioning(config: Config, is_meant: Callable[[SlackConfig], bool]) -> Iterator[str]:
    """The Slack sinks in which some rule mentions the owner."""
    reach = reach_of(config)
    for rule in config.rules:
        for named in _sinks(rule) if OWNER in rule.mention else ():
            name = reach.sink if reach is not None and named == OWNER else named
            sink = config.sinks.get(name)
            if isinstance(sink, SlackConfig) and is_meant(sink):
                yield name


def _sinks(rule: RuleConfig) -> set[str]:
    return {target.sink for target in (*rule.notify, *rule.fallback)}
