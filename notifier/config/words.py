"""The closed sets of words that a configuration may use, and the nearest one to a word that is not known.

A word that is not known is an error with a suggestion, never ignored. Statuses and categories are open, for
the source may extend them: statuses are here for advice only.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable

from notifier.models import TRACKED, Kind

VERBS = ("added", "status_changed", "updated", "removed", "reappeared")
#: What happens to the three kinds of entity.
EVENT_TYPES = tuple(f"{kind}.{verb}" for kind in Kind for verb in VERBS)
#: What the notifier says of itself.
REPORT_TYPES = tuple(
    f"notifier.{word}"
    for word in (
        "baseline",
        "state_lost",
        "source_failing",
        "source_recovered",
        "drift",
        "removals_held",
        "snapshot_held",
        "sink_failing",
        "sink_recovered",
        "dead_letters",
    )
)
#: Fields whose change makes an event.
FIELDS = tuple(dict.fromkeys(name for names in TRACKED.values() for name in names))
#: Fields that a sink may be told to leave out.
EXCLUDABLE = (*FIELDS, "created_at")
#: The shapes of a webhook's requests.
FORMATS = ("standard", "clasp", "cloudevents")
#: Headers of requests that the notifier or HTTP itself sets, in small letters.
OWN_HEADERS = frozenset(
    {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "clasp-event-timestamp",
        "clasp-event-signature",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "host",
    }
)
#: Those that Clasp documents, of group connections and milestones; any other may come.
STATUSES = ("not_started", "pending", "processing", "needs_attention", "review", "completed", "inactive")
SEVERITIES = ("info", "warning", "critical")
SINK_TYPES = ("slack", "webhook", "console")
#: The name under which reports reach ``self_reports``; no rule may take it.
SELF_REPORTS = "self_reports"

_MOST_LISTED = 12
_LONGEST_SHOWN = 48
_LONGEST_JUDGED = 200  # a longer word is not looked through for secrets, and not shown
# Words that may be a credential in the wrong place: known prefixes, addresses, long runs with digits.
_SECRETIVE = re.compile(r"xox|whsec_|sk_|://|@|(?=\S*\d)\S{24}", re.IGNORECASE)


class UnknownWord(ValueError):
    """A word outside a closed set. The text of the error leaves the word out: it may be a secret.

    ``meant`` is the known word that it stands for, where that is plain without a likeness.
    """

    def __init__(self, what: str, word: str, known: Iterable[str], meant: str | None = None) -> None:
        super().__init__(f"not a known {what}")
        self.meant = meant
        self.what = what
        self.word = word
        self.known = tuple(known)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, if any is."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return close[0] if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "when"?``, or the whole list where nothing is near and the list is short."""
    words = [one for one in known if not _may_be_secret(one)]  # names of sinks are the file's own words
    if close := closest(word, words):
        return f'; did you mean "{close}"?'
    if 0 < len(words) <= _MOST_LISTED:
        return "; known: " + ", ".join(words)
    return ""


def shown(word: str) -> str:
    """The word in quotes, cut short; only ``"..."`` where it might be a secret."""
    if _may_be_secret(word):
        return '"..."'
    return json.dumps(word if len(word) <= _LONGEST_SHOWN else word[:_LONGEST_SHOWN] + "...")


def _may_be_secret(word: str) -> bool:
    return len(word) > _LONGEST_JUDGED or _SECRETIVE.search(word) is not None


def path_text(path: Iterable[str | int]) -> str:
    """``rules[0].when.to``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(r"[\w-]+", part) and not _may_be_secret(part)
            text += ("." if text else "") + (part if plain else shown(part))
    return text
