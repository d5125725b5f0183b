"""What are clients told while a pool is in maintenance?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.http import HttpSpec
from proxyd.config.lists import Clients
from proxyd.errors import Reason
from proxyd.policy.lists import Lists
from tests.frontends.http.caches import CachingCase
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase
from tests.frontends.http.test_errorpage import specs
from tests.frontends.http.test_routed import RoutedCase, route

POST = b"POST /x HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\n"


class Told(HttpCase):
    """Requests of clients that are turned away, and of those who are not."""

    def begin(self) -> None:
        self.pool.maintenance.turn(True, "disk", 0.0)

    def test_turned_away(self) -> None:
        """503, on a connection that goes on, with when to come again; what is under way is answered."""
        self.listen(1, pool={"maintenance_retry_after": 60.0})
        client = self.client(GET)
        self.begin()
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.say(client, GET)
        said = self.heard(client)
        self.assertTrue(said.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        self.assertIn(b"\r\nRetry-After: 60\r\n", said)
        self.assertIn(b"\r\nCache-Control: no-store\r\n", said)
        self.pool.maintenance.turn(False, "done", 1.0)
        self.say(client, GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        outcomes = [(200, Reason.ANSWERED), (503, Reason.MAINTENANCE), (200, Reason.ANSWERED)]
        self.assertEqual(self.outcomes(), outcomes)
        self.assertEqual(self.notebook.requests[1].detail, "[pool web] maintenance: disk")
        self.assertEqual((len(self.datapath.peers), self.pool.maintenance.turned_away), (1, 1))
        self.over()

    def test_let_in(self) -> None:
        """Those who are named are served."""
        self.listen(1)
        self.begin()
        self.pool.maintenance.allowed = Lists(()).members(Clients((ip_network("10.9.0.0/16"),)), "office")
        inside, outside = self.client(GET), self.client(GET, host="10.8.0.1")
        self.assertIn(b" 503 ", self.heard(outside))
        self.say(self.server, OK)
        self.assertEqual(self.heard(inside), ANSWERED)
        self.over()

    def test_page(self) -> None:
        """The page of maintenance comes before the listener's for 503, which comes before ours."""
        http = HttpSpec(error_page=specs(_503="sorry: {status}"))
        for page, text in (
            (specs(_503="back soon: {status}")[0][1], b"back soon: 503\n"),
            ((), b"sorry: 503\n"),
        ):
            self.listen(1, http=http, pool={"maintenance_page": page})
            self.begin()
            for method, body in (b"GET", text), (b"HEAD", b""):
                said = self.heard(self.client(GET.replace(b"GET", method)))
                self.assertIn(b"\r\nContent-Length: %d\r\n" % len(text), said)
                self.assertEqual(said.partition(b"\r\n\r\n")[2], body)
            program = GET[:-2] + b"Accept: application/json\r\n\r\n"
            self.assertIn(b"application/problem+json", self.heard(self.client(program)))
            self.over()

    def test_bodies(self) -> None:
        """A body that is still to come is not waited for."""
        self.listen(1)
        self.begin()
        client = self.client(POST)
        said = self.heard(client)
        self.assertIn(b" 503 ", said)
        self.assertIn(b"\r\nConnection: close\r\n", said)
        self.say(client, b"hello")
        self.assertEqual(self.outcomes(), [(503, Reason.MAINTENANCE)])
        self.over()


class BehindACache(CachingCase):
    """Where answers are stored."""

    def test_stored(self) -> None:
        """What is stored is given again when it is over, and meanwhile to those who are let in."""
        self.store()
        client = self.fill()
        self.pool.maintenance.turn(True, "disk", 0.0)
        self.assertEqual(self.told(self.ask(client=client))[0], 503)
        self.pool.maintenance.allowed = Lists(()).members(Clients((ip_network("10.9.0.0/16"),)), "office")
        self.assertEqual(self.told(self.ask(client=client))[0], 200)
        self.pool.maintenance.turn(False, "done", 0.0)
        self.assertEqual(self.told(self.ask(client=client))[0], 200)
        self.assertEqual(len(self.datapath.peers), 1)
        self.over()


class OnRoutes(RoutedCase):
    """Where each request takes its route."""

    def test_one_of_several(self) -> None:
        """Requests for another pool are served; a route's page is before the listener's."""
        page = specs(_503="of the route")
        routing = self.routes(
            route("api", "api", {"path": ("/api",)}, error_page=page),
            http=HttpSpec(error_page=specs(_503="of the listener")),
        )
        (api,) = (course.pool for course in routing.courses)
        assert api is not None
        api.maintenance.turn(True, "disk", 0.0)
        client = self.client(self.get(b"/api"))
        self.assertTrue(self.heard(client).endswith(b"\r\n\r\nof the route\n"))
        self.say(client, self.get(b"/"))
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        found = [(record.status, record.pool, record.route) for record in self.notebook.requests]
        self.assertEqual(found, [(503, "api", "api"), (200, "web", "")])
        self.over()
