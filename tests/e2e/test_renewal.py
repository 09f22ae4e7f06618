"""A secret in a file is renewed under the worker that runs."""

from __future__ import annotations

from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

from tests.e2e.configs import EVERYTHING, webhook, write_config
from tests.e2e.stage import SECRET, Receiver, Stage
from tests.support.process import Worker
from tests.support.servers import wait_until

NEW = "whsec_bmV3IHNlY3JldCBvZiAyNCBieXRlcyEh"


def test_a_webhooks_secret_is_rotated_without_a_restart(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver), EVERYTHING)
    config.write_text(config.read_text().replace(SECRET, "${HOOK_SECRET}"))
    secret = place / "secret"
    secret.write_text(SECRET + "\n")
    with Worker(place, config, HOOK_SECRET_FILE=str(secret)) as worker:
        worker.until_polled()
        stage.trouble()
        wait_until(lambda: receiver.requests, "the first is sent")
        secret.write_text(NEW + "\n")
        wait_until(lambda: worker.log("secrets.renewed"), "the new secret is read")
        before = len(receiver.requests)
        stage.trouble()
        wait_until(lambda: len(receiver.requests) > before, "more is sent")
        assert worker.stop() == 0
        assert NEW not in worker.err
    first, last = receiver.requests[0], receiver.requests[-1]
    Webhook(SECRET).verify(first.body, first.headers)
    Webhook(NEW).verify(last.body, last.headers)
    try:
        Webhook(SECRET).verify(last.body, last.headers)
    except WebhookVerificationError:
        return
    raise AssertionError("the old secret still signs")
