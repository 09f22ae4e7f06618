"""A simulated Clasp API: a seeded world of connections that lives, served over HTTP, with faults on demand.

``world`` (no IO) holds the connections and writes a journal of what really happened to them; ``lifecycle``
says what may happen next; ``build`` makes a world from a seed; ``app`` serves it as Clasp's API page says;
``faults`` makes it misbehave; ``control`` is the same by HTTP; ``server`` runs all of it on a port.

Nothing here is imported by the notifier itself: only by its commands ``sandbox`` and ``demo``, by tests and
by benchmarks.
"""
