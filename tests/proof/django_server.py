"""An account behind a real Django REST Framework server, changed between the pages that it serves.

The list is a ``ListAPIView`` with cursor pagination, served by ``wsgiref`` on loopback. After each page that
it has made, seeded chance updates, touches, creates and deletes rows. DRF's own ``next`` and 404 are what
the client gets; of the documented limits only the sizes are smaller.

Importing this module configures Django for the whole process: import it only in one that was forked for it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

# Rows are touched from a coroutine too, but only while no request is under way.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"file:lists-{os.getpid()}?mode=memory&cache=shared",
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["rest_framework"],
    LOGGING_CONFIG=None,
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    USE_TZ=True,
)
django.setup()
logging.getLogger("django").setLevel(logging.CRITICAL)  # it warns of each 404

from django.core.wsgi import get_wsgi_application  # noqa: E402 - Django must be configured first
from django.db import connection as database  # noqa: E402
from django.db import models  # noqa: E402
from django.db.models import F  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, pagination, serializers  # noqa: E402

MAX_PAGE = 5
MAX_TIES = 12  # DRF's ``offset_cutoff``: a list with more ties than this and a page goes in a circle
_STATUSES = ("pending", "processing", "needs_attention", "completed")
_EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
_WORLD = "clasp.world"
_PRIME = 10_007


class Connection(models.Model):  # noqa: DJ008 - nobody prints it
    id = models.CharField(primary_key=True, max_length=40)
    broker_url = models.CharField(max_length=255, null=True)  # noqa: DJ001 - as Clasp has it
    employer = models.CharField(max_length=40)
    group_connections = models.JSONField()
    events = models.JSONField()
    status = models.CharField(max_length=40)
    created = models.DateTimeField()
    modified = models.DateTimeField()
    number = models.IntegerField()
    tie = models.IntegerField(default=0)  # what decides between rows of one time, where that changes

    class Meta:
        app_label = "lists"


class Serializer(serializers.ModelSerializer):
    class Meta:
        model = Connection
        fields = ("id", "broker_url", "employer", "group_connections", "events", "status")


class Pages(pagination.CursorPagination):
    page_size = 3
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE
    offset_cutoff = MAX_TIES

    def get_ordering(self, request, queryset, view):
        return request.META[_WORLD].ordering


class List(generics.ListAPIView):
    queryset = Connection.objects.all()
    serializer_class = Serializer
    pagination_class = Pages

    def list(self, request, *args, **kwargs):
        world: World = request.META[_WORLD]
        if "cursor" not in request.query_params:
            world.begin()
        response = super().list(request, *args, **kwargs)
        world.turn_page(response.data)
        return response


class One(generics.RetrieveAPIView):
    queryset = Connection.objects.all()
    serializer_class = Serializer


urlpatterns = [path("connections", List.as_view()), path("connections/<pk>", One.as_view())]


class World:
    """What is in the account, and what happens to it. ``live`` is what the API would show, by id.

    ``ordering`` is that of the list, ``ties`` the chance that a row gets the time of the one before, ``pace``
    the most changes after a page. ``scheme`` is what Django takes its own URL for.
    """

    def __init__(
        self, rng: random.Random, ordering: Sequence[str], ties: float, pace: int, scheme: str
    ) -> None:
        self._rng = rng
        self.ordering = ordering
        self._ties = ties
        self._pace = pace
        self.scheme = scheme
        self.may_delete = 0  # how many more, so that what is really gone stays within the mass guard
        self.is_moving = False
        self.live: dict[str, dict[str, Any]] = {}
        self.gone: set[str] = set()
        self.served: list[bytes] = []
        self.bad_cursors = 0
        self._deleted: dict[str, dict[str, Any]] = {}
        self._stamp = 0
        self._made = 0
        self._shown: set[str] = set()
        self._throughout: set[str] = set()
        self._is_whole = False

    def fill(self, count: int) -> None:
        """Begin with ``count`` rows."""
        Connection.objects.all().delete()
        for _ in range(count):
            self._create()

    def transport(self) -> None:
        """What a Rig asks of an account: here the real network."""

    # --- one traversal ---

    def begin(self) -> None:
        self._shown, self._throughout, self._is_whole = set(), set(self.live), False

    def turn_page(self, page: dict[str, Any]) -> None:
        """A page was made: note what it shows, and change something before the next."""
        if "tie" in self.ordering:
            Connection.objects.update(tie=F("number") * self._rng.randrange(1, _PRIME) % _PRIME)
        self._shown |= {item["id"] for item in page["results"]}
        self._is_whole = page["next"] is None
        if self.is_moving and not self._is_whole:
            for _ in range(self._rng.randint(0, self._pace)):
                self.change()

    def missed(self) -> set[str]:
        """Rows that were there all the time and that the last traversal, which came to its end, did not show."""
        return self._throughout - self._shown if self._is_whole else set()

    @property
    def shown(self) -> frozenset[str]:
        return frozenset(self._shown)

    def is_cursor_to_spoil(self) -> bool:
        """Whether the next cursor reaches Django cut short."""
        if not self.is_moving or self._rng.random() > 0.01:
            return False
        self.bad_cursors += 1
        return True

    # --- what happens ---

    def change(self) -> None:
        kinds: Sequence[Callable[[], None]] = (
            self._update, self._update, self._touch, self._touch, self._create, self._delete, self._child,
        )  # fmt: skip
        self._rng.choice(kinds)()

    def tie_all(self) -> None:
        """A migration, or an import: all rows of one time, more than the paginator can page over."""
        Connection.objects.update(created=self._now(), modified=self._now())

    def untie(self) -> None:
        """Each row has a time of its own again."""
        for row in Connection.objects.all():
            self._stamp += 1
            row.created = row.modified = _EPOCH + timedelta(seconds=self._stamp)
            row.save()

    def _now(self) -> datetime:
        self._stamp += self._rng.random() >= self._ties
        return _EPOCH + timedelta(seconds=self._stamp)

    def _any(self) -> Connection:
        """A row; every other time one of a few, which therefore move again and again."""
        ids = sorted(self.live)
        few = ids[:5] if self._rng.random() < 0.5 else ids
        return Connection.objects.get(pk=self._rng.choice(few))

    def _saved(self, row: Connection) -> None:
        row.modified = self._now()
        row.save()
        self.live[row.id] = json.loads(json.dumps(Serializer(row).data))

    def _update(self) -> None:
        row = self._any()
        status = self._rng.choice(_STATUSES)
        children = [*row.group_connections, *row.events]
        if children and self._rng.random() < 0.7:
            self._rng.choice(children)["status"] = status
        else:
            row.status = status
        self._saved(row)

    def _touch(self) -> None:
        self._saved(self._any())

    def _create(self) -> None:
        if self._deleted and self._rng.random() < 0.3:
            item = self._deleted.pop(self._rng.choice(sorted(self._deleted)))
        else:
            self._made += 1
            item = _item(f"conn_{self._rng.randrange(16**6):06x}_{self._made}")
        now = self._now()
        Connection.objects.create(**item, created=now, modified=now, number=self._made)
        self.live[item["id"]] = item

    def _delete(self) -> None:
        if self.may_delete > 0 and len(self.live) > 2 * MAX_PAGE:
            self.may_delete -= 1
            row = self._any()
            self._deleted[row.id] = self.live.pop(row.id)
            self.gone.add(row.id)
            row.delete()

    def _child(self) -> None:
        row = self._any()
        groups = row.group_connections
        if len(groups) > 1 and self.may_delete > 0:
            self.may_delete -= 1
            self.gone.add(groups.pop()["id"])
        elif len(groups) < 3:
            self._made += 1
            groups.append(_group(f"gc_{self._made}_x", row.id))
        self._saved(row)


def _item(id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "broker_url": None,
        "employer": "er_1",
        "group_connections": [_group(f"gc_{id_}", id_)],
        "events": [
            {
                "id": f"ms_{id_}",
                "category": "payroll_connected",
                "status": "pending",
                "created_at": "2026-01-02T03:04:05Z",
            }
        ],
        "status": "processing",
    }


def _group(id_: str, parent: str) -> dict[str, Any]:
    return {
        "id": id_,
        "carrier": "carr_A",
        "status": "pending",
        "broker_federal_ein": None,
        "group_id": "00123",
        "connection": parent,
        "initiated_at": None,
        "completed_at": None,
    }


class Site:
    """The WSGI application in front of Django: knows the world, spoils cursors, keeps what was served."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.url = ""
        self._django = get_wsgi_application()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        world = self.world
        assert world is not None
        environ[_WORLD] = world
        environ["wsgi.url_scheme"] = world.scheme
        if "cursor=" in environ["QUERY_STRING"] and world.is_cursor_to_spoil():
            environ["QUERY_STRING"] = "cursor=nonsense&page_size=100"
        said: list[str] = []

        def start(status: str, headers: Any, *rest: Any) -> Any:
            said.append(status)
            return start_response(status, headers, *rest)

        response = self._django(environ, start)
        body = b"".join(response)
        response.close()
        if said[0].startswith("200"):
            world.served.append(body)
        return [body]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def running_site() -> Iterator[Site]:
    """A site on loopback, served by a thread until the end of the block; its table is there and empty."""
    site = Site()
    if Connection._meta.db_table not in database.introspection.table_names():
        with database.schema_editor() as editor:
            editor.create_model(Connection)
    with make_server("127.0.0.1", 0, site, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            site.url = f"http://127.0.0.1:{server.server_port}"
            yield site
        finally:
            server.shutdown()
            thread.join(10)
