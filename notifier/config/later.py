"""Keys that later releases know, or that belong elsewhere: refused by name, so that nobody waits in vain.

A table, not code: path of the level -> key -> what to say.
"""

from __future__ import annotations

from collections.abc import Mapping

_QUIET = 'a sink for people has "active": a calendar of the hours in which alerts may disturb'
_RELEASE = "not available in this release"

TOP: Mapping[str, str] = {
    "durability": f'"durability" is {_RELEASE}; it is always "standard"',
    "quiet_hours": f"there are no quiet hours here; {_QUIET}",
}
SINK: Mapping[str, str] = {
    "tls": '"tls" is for sinks that are reached over the network',
    "proxy": '"proxy" is for sinks that are reached over the network',
    "active": '"active" is for sinks for people; programs are told at any time',
    "min_severity": f'"min_severity" is {_RELEASE}; choose with rules which sink gets what',
    "quiet_hours": f"is written the other way round: {_QUIET}",
    "mode": '"mode" is for sinks that send something elsewhere; a console only writes anyway',
}
WHEN: Mapping[str, str] = {
    key: f'"{key}" is a key of "while"; "when" has "to" and "not_to"'
    for key in ("status", "not_status", "unchanged")
}
WHILE: Mapping[str, str] = {
    key: f'"{key}" is a key of "when"; "while" has "status" and "not_status"'
    for key in ("type", "from", "to", "not_from", "not_to", "field")
}
SINK_TYPES: Mapping[str, str] = {
    "mail": 'there are no sinks of type "mail"; use type: apprise with a mailto: URL',
    "email": 'there are no sinks of type "email"; use type: apprise with a mailto: URL',
}
