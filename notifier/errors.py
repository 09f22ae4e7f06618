"""Every error the notifier raises on purpose.

::

    NotifierError
      ConfigError             the configuration or a command's arguments are wrong (exit code 2)
      OwnersUnavailable       the table of owners was not to be had from its address
      SourceError             Clasp's API
        SourceUnavailable     it did not answer, or asked us to wait; later it may
        SourceRefused         it does not accept our key (401, 403)
        SourceInvalid         it answered something that is not what it documents
      StoreError              Redis
        StoreUnavailable      it did not answer; later it may
        StoreUnfit            it answers, but cannot be trusted with the state (refused at start)
        LeaseLost             another worker polls now: nothing of this poll was committed
        StateMoved            the state is not the one this change was made from: nothing was committed
      DeliveryError           one attempt at one sink
        TemporaryFailure      the same delivery may succeed later
        PermanentFailure      the message's fault: it never will
        SinkFault             the sink's fault: nothing will get through until a person mends it

Client libraries' exceptions are translated into these at the edge that calls the library. No message of
an error ever holds a secret.
"""

from __future__ import annotations

from datetime import timedelta


class NotifierError(Exception):
    """The root of the tree."""


class ConfigError(NotifierError):
    """The configuration or a command's arguments are wrong; ``problems`` holds one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class OwnersUnavailable(NotifierError):
    """The address did not give the table of owners."""


class SourceError(NotifierError):
    """Clasp's API failed us; the message says what to do."""


class SourceUnavailable(SourceError):
    """It did not answer, or asked us to wait."""


class SourceRefused(SourceError):
    """It does not accept our key."""


class SourceInvalid(SourceError):
    """It answered something that is not what it documents."""


class StoreError(NotifierError):
    """Redis failed us."""


class StoreUnavailable(StoreError):
    """It did not answer."""


class StoreUnfit(StoreError):
    """It answers, but cannot be trusted with the state."""


class LeaseLost(StoreError):
    """Another worker polls now; nothing was committed."""


class StateMoved(StoreError):
    """The state is not the one this change was made from; nothing was committed."""


class DeliveryError(NotifierError):
    """One attempt at one sink failed.

    ``reason`` is a short bounded word for logs, metrics and dead letters (``http_503``, ``timeout``,
    ``invalid_blocks``); the message is one sentence for a person and says what to do where that is known.
    """

    def __init__(self, reason: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


_NO_ANSWER = frozenset({"timeout", "connection_lost", "invalid_response", "defect"})


class TemporaryFailure(DeliveryError):
    """The same delivery may succeed later.

    ``retry_after`` is what the receiver asked for; ``throttled`` says that it asked it of everything we
    send, not of this delivery. ``unreachable``: nobody listens there, which says something about the sink.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: timedelta | None = None,
        unreachable: bool = False,
        throttled: bool = False,
    ) -> None:
        super().__init__(reason, message, status=status)
        self.retry_after = retry_after
        self.unreachable = unreachable
        self.throttled = throttled

    @property
    def may_have_arrived(self) -> bool:
        """Whether it may have been taken all the same: only the answer is missing, or is no answer."""
        return self.reason in _NO_ANSWER or (self.status is not None and self.status >= 500)  # noqa: PLR2004


class PermanentFailure(DeliveryError):
    """The message's fault: it goes to the dead letters at once."""


class SinkFault(DeliveryError):
    """The sink's fault: it is paused, keeps everything, and is probed."""
