"""The source: Clasp's API, read over HTTP.

``client`` fetches pages and single objects, ``answers`` reads one response within bounds and says what its
status means, ``decode`` turns one item into what was observed. Nothing here knows the store: a traversal
that fails raises :class:`notifier.errors.SourceError`, and what it saw until then still counts.
"""
