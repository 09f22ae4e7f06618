"""The names of all keys of one deployment. One hash tag: they lie in one cluster slot."""

from __future__ import annotations

PAGE, POSTED = "page:", "posted:"  # and a message's id: fields of a sink's hash, see ``Keys.sink``


class Keys:
    """Key names of the deployment ``name``."""

    def __init__(self, name: str) -> None:
        self.prefix = f"notifier:{{{name}}}:"
        self.meta = self.prefix + "meta"
        self.lease = self.prefix + "lease"
        self.state = self.prefix + "state"
        self.alerts = self.prefix + "alerts"
        self.silences = self.prefix + "silences"
        self.durations = self.prefix + "durations"
        self.history = self.prefix + "history"
        self.inbox = self.prefix + "inbox"
        self.names = self.prefix + "names"
        self.attempts = self.prefix + "attempts"

    def sink(self, sink: str) -> str:
        """What is known of a sink's health, and the messages there: what they show and where (hash)."""
        return f"{self.prefix}sink:{sink}"

    def lanes(self, sink: str) -> str:
        """A sink's lanes by the time of their next attempt (zset)."""
        return f"{self.prefix}lanes:{sink}"

    def claims(self, sink: str) -> str:
        """The lanes that all workers have under way at a sink, by the end of the claim (zset)."""
        return f"{self.prefix}claims:{sink}"

    def lane(self, sink: str, key: str) -> str:
        """One lane: its deliveries in order (list)."""
        return f"{self.prefix}lane:{sink}:{key}"

    def dead(self, sink: str) -> str:
        """A sink's dead letters (stream)."""
        return f"{self.prefix}dead:{sink}"
