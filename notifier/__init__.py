"""Change notifier for Clasp carrier connections."""

__version__ = "0.1.0"
