"""Is done with each request what its route says?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Mapping, Optional

from twisted.internet.defer import Deferred

from proxyd.config.action import (
    OF_ALL,
    OF_THE_REQUEST,
    ActionSpec,
    EditSpec,
    RedirectSpec,
    RespondSpec,
    RewriteSpec,
)
from proxyd.config.address import TcpAddress
from proxyd.config.affinity import AffinitySpec
from proxyd.config.cache import CacheSpec
from proxyd.config.condition import ConditionSpec
from proxyd.config.http import HttpSpec
from proxyd.config.limits import RateSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import Clients, record_of
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.route import RouteSpec
from proxyd.config.template import template
from proxyd.errors import Reason, Refused
from proxyd.frontends.http.auth import Verdict
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.factory import HttpFactory
from proxyd.frontends.http.pages import Words
from proxyd.frontends.http.routing import NO_CACHES, Routing
from proxyd.policy.balance import RoundRobin
from proxyd.policy.lists import Lists, networks_of
from proxyd.policy.pool import Pool
from proxyd.policy.routelimits import RouteLimits
from tests.frontends.http.front import GET, OK, TOLD, HttpCase
from tests.support.admission import admission
from tests.support.peer import Ended

VIA = b"Via: 1.1 proxyd\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: example.com\r\n"


def route(
    name: str = "r", pool: str = "web", condition: Optional[dict[str, Any]] = None, **action: Any
) -> RouteSpec:
    """A route with these conditions, that does this."""
    wanted = ConditionSpec(**(condition or {}))
    return RouteSpec(name, ("front",), pool, condition=wanted, action=ActionSpec(**action))


def edit(how: str, name: str, value: str = "") -> EditSpec:
    return EditSpec(how, name, template(value, OF_ALL))


class RoutedCase(HttpCase):
    """Requests at a listener with routes, before the pools ``web`` and ``api``."""

    def routes(
        self,
        *routes: RouteSpec,
        pool: str = "web",
        http: Optional[HttpSpec] = None,
        affinity: Optional[AffinitySpec] = None,
        caches: Mapping[str, Cache] = NO_CACHES,
        **listener: Any,
    ) -> Routing:
        def made(name: str, host: str) -> Pool:
            servers = (ServerSpec("a", TcpAddress(host, 1)), ServerSpec("b", TcpAddress(host, 2)))
            spec = PoolSpec(name, servers[:1], connect_timeout=5.0, affinity=affinity)
            return Pool(spec, RoundRobin(lambda: 0.0))

        pools = {"web": made("web", "10.0.0.1"), "api": made("api", "10.0.1.1")}
        self.pool = pools["web"]
        spec = ListenerSpec(
            "front", (), pool, protocol="http", routes=routes, http=http or HttpSpec(), **listener
        )
        limits = {each.name: RouteLimits(each) for each in routes}
        self.lists = Lists(())
        routing = Routing(spec, pools, self.lists, limits, self.clock, lambda work: Deferred(), caches)
        self.factory = HttpFactory(
            spec,
            pools,
            self.datapath,
            self.wheel,
            self.clock.seconds,
            self.wall,
            self.capacity,
            [self.notebook],
            admission(),
            routing=routing,
        )
        return routing

    def status(self, answer: bytes) -> int:
        return int(answer[9:12])

    def get(self, target: bytes = b"/x", host: bytes = b"example.com", *lines: bytes) -> bytes:
        """A request for this."""
        return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: " + host, *lines, b"", b""])


class Routes(RoutedCase):
    """Where a request is led."""

    def test_pools(self) -> None:
        """Each request of a connection takes its own route; who fits none is for the listener's pool."""
        self.routes(route("v1", "api", {"path": ("/v1",)}), route("other", "web", {"host": ("o.com",)}))
        client = self.client()
        for target, host, server in [
            (b"/v1/a", b"example.com", "10.0.1.1"),
            (b"/", b"o.com", "10.0.0.1"),
            (b"/", b"example.com", "10.0.0.1"),
        ]:
            self.say(client, self.get(target, host))
            before = len(self.datapath.hosts)
            self.say(self.server, OK)
            self.assertEqual(self.status(self.heard(client)), 200)
            self.assertIn(server, self.datapath.hosts[before - 1 :])
        records = [(record.route, record.pool) for record in self.notebook.requests]
        self.assertEqual(records, [("v1", "api"), ("other", "web"), ("", "web")])
        self.over()

    def test_stored(self) -> None:
        """What goes by a field that we make of the client is stored for nobody; and what is ours is said."""
        cache = Cache(CacheSpec("pages"), self.clock, self.wall)
        edits = (edit("set", "X-Client", "{client}"), edit("set", "X-Forwarded-Ssl", "on"))
        self.routes(route(cache="pages", request_header=edits), caches={"pages": cache})
        for vary, stored in ((b"X-Client", 0), (b"X-Forwarded-Ssl", 1)):
            fields = b"Cache-Control: max-age=9, public\r\nVary: %s\r\nContent-Length" % vary
            client = self.client(self.get(b"/x", b"example.com", b"X-Forwarded-Ssl: off", b"X-Client: 1"))
            asked = self.heard(self.server)
            self.assertEqual(
                (asked.count(b"X-Forwarded-Ssl: on\r\n"), asked.count(b"X-Client: 10.9.9.9")), (1, 1)
            )
            self.say(self.server, OK.replace(b"Content-Length", fields))
            self.assertEqual(self.status(self.heard(client)), 200)
            self.assertEqual(len(cache.store), stored)
            self.clock.advance(11)
        cache.close()
        self.over()

    def test_asked_again(self) -> None:
        """A request that is asked again takes its route again, whatever was asked in between."""
        self.routes(route("v1", "web", {"path": ("/v1",)}, rewrite=RewriteSpec("/v1", "/")))
        client = self.client()
        for target, got in [(b"/v1/a", b"/a"), (b"/v1/a", b"/a"), (b"/v2", b"/v2"), (b"/v1/a", b"/a")]:
            self.say(client, self.get(target))
            self.assertTrue(self.heard(self.server).startswith(b"GET %s HTTP/1.1\r\n" % got))
            self.say(self.server, OK)
        self.assertEqual([record.route for record in self.notebook.requests], ["v1", "v1", "", "v1"])
        self.over()

    def test_lists_change(self) -> None:
        """Where a list of clients decides it is asked each time, since it may have changed."""
        self.routes(route("r", "", {"client": Clients(paths=("/x",))}, respond=RespondSpec(403)))
        client = self.client(GET)
        self.say(self.server, OK)
        self.lists.files["/x"].networks = networks_of([record_of(ip_network("10.9.9.9/32"))])
        self.say(client, GET)
        self.assertEqual([status for status, _ in self.outcomes()], [200, 403])
        self.over()

    def test_none(self) -> None:
        """Without a pool for the rest, 404, and the connection goes on."""
        self.routes(route("v1", "api", {"path": ("/v1",)}), pool="")
        client = self.client(GET)
        self.assertEqual(self.status(self.heard(client)), 404)
        self.say(client, self.get(b"/v1"))
        self.say(self.server, OK)
        self.assertEqual(self.outcomes(), [(404, Reason.NO_ROUTE), (200, Reason.ANSWERED)])
        self.over()

    def test_normal_form(self) -> None:
        """Where a path decides, it is compared and sent in its normal form; the record has what was asked."""
        self.routes(route("v1", "web", {"path": ("/v1",)}))
        self.client(self.get(b"//x/../%761/./a%2dz?b=//"))
        self.assertTrue(self.heard(self.server).startswith(b"GET /v1/a-z?b=// HTTP/1.1\r\n"))
        self.say(self.server, OK)
        self.assertEqual(
            (self.the_request().route, self.the_request().target), ("v1", b"//x/../%761/./a%2dz?b=//")
        )
        self.over()

    def test_as_it_came(self) -> None:
        """Where no path decides the target leaves as it came."""
        self.routes(route("r", "web", {"host": ("example.com",)}))
        self.client(self.get(b"//x/../%zz"))
        self.assertTrue(self.heard(self.server).startswith(b"GET //x/../%zz HTTP/1.1\r\n"))
        self.say(self.server, OK)
        self.over()

    def test_ambiguous(self) -> None:
        """A path that servers read in two ways is 400, and nothing is forwarded."""
        self.routes(route("v1", "web", {"path": ("/v1",)}))
        client = self.client(self.get(b"/x%2f..%2fv1"))
        self.assertEqual(self.status(self.heard(client)), 400)
        self.assertEqual((self.outcomes(), self.datapath.peers), ([(400, Reason.REQUEST_MALFORMED)], []))
        self.over()

    def test_undecided(self) -> None:
        """A pattern that takes too long lets nobody through."""
        self.routes(route("r", "web", {"path_regex": ("^/(a|a)*$",)}))
        client = self.client(self.get(b"/" + b"a" * 40 + b"!"))
        self.assertEqual(self.status(self.heard(client)), 500)
        self.assertEqual(self.outcomes(), [(500, Reason.ROUTE_UNDECIDED)])
        self.over()


class Answers(RoutedCase):
    """Requests that no server is asked about."""

    def test_redirect(self) -> None:
        """The client is sent elsewhere, and may go on."""
        to = RedirectSpec(301, template("https://{host}{uri}", OF_THE_REQUEST))
        self.routes(route("r", "", redirect=to))
        client = self.client(self.get(b"/a?b") * 2)
        answer = self.heard(client)
        self.assertEqual(answer.count(b"HTTP/1.1 301 Moved Permanently\r\n"), 2)
        self.assertEqual(answer.count(b"Location: https://example.com/a?b\r\n"), 2)
        self.assertEqual(self.outcomes(), [(301, Reason.ANSWERED)] * 2)
        self.assertEqual([record.route for record in self.notebook.requests], ["r", "r"])
        self.over()

    def test_redirect_without_a_host(self) -> None:
        """A client of HTTP/1.0 that has named no host cannot be sent to it."""
        to = RedirectSpec(301, template("https://{host}{uri}", OF_THE_REQUEST))
        self.routes(route("r", "", redirect=to))
        client = self.client(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(self.status(self.heard(client)), 400)
        self.assertEqual(self.outcomes(), [(400, Reason.REQUEST_MALFORMED)])
        self.over()

    def test_no_circle(self) -> None:
        """Who is there already takes the next route."""
        to = RedirectSpec(301, template("http://www.example.com{uri}", OF_THE_REQUEST))
        self.routes(route("r", "", redirect=to))
        client = self.client(self.get(b"/", b"example.com"))
        self.assertEqual(self.status(self.heard(client)), 301)
        self.say(client, self.get(b"/", b"www.example.com"))
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        self.over()

    def test_respond(self) -> None:
        """A page, or a text; to a HEAD without it."""
        self.routes(
            route("page", "", {"path": ("/page",)}, respond=RespondSpec(403)),
            route("text", "", {"path": ("/text",)}, respond=RespondSpec(200, "hello")),
            route("empty", "", {"path": ("/empty",)}, respond=RespondSpec(204)),
            route("own", "", {"path": ("/own",)}, respond=RespondSpec(599, "")),
        )
        client = self.client(self.get(b"/page"))
        self.assertIn(b"<h1>Forbidden</h1>", self.heard(client))
        self.say(client, self.get(b"/text"))
        answer = self.heard(client)
        self.assertIn(b"Content-Type: text/plain; charset=utf-8\r\n", answer)
        self.assertTrue(answer.endswith(b"Content-Length: 6\r\n\r\nhello\n"))
        self.say(client, self.get(b"/text").replace(b"GET", b"HEAD"))
        self.assertTrue(self.heard(client).endswith(b"Content-Length: 6\r\n\r\n"))
        self.say(client, self.get(b"/empty"))
        answer = self.heard(client)
        self.assertEqual((self.status(answer), b"Content-" in answer), (204, False))
        self.say(client, self.get(b"/own"))
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 599 \r\n"))
        self.over()

    def test_many_requests(self) -> None:
        """A connection has no more requests than max_requests, whoever answers them."""
        self.routes(route("r", "", respond=RespondSpec(403)), http=HttpSpec(max_requests=2))
        client = self.client(self.get())
        self.assertNotIn(b"Connection: close\r\n", self.heard(client))
        self.say(client, self.get())
        self.assertIn(b"Connection: close\r\n", self.heard(client))
        self.over()

    def test_with_a_body(self) -> None:
        """The body of a request that is answered at once is not waited for: the connection closes."""
        self.routes(route("r", "", respond=RespondSpec(403)))
        client = self.client(POST + b"Content-Length: 100\r\n\r\nabc")
        answer = self.heard(client)
        self.assertEqual((self.status(answer), b"Connection: close\r\n" in answer), (403, True))
        self.over()


class Changes(RoutedCase):
    """What is changed on the way."""

    def test_rewrite(self) -> None:
        """The server gets another path; the record has the one that was asked for."""
        self.routes(route("r", "web", {"path": ("/v1",)}, rewrite=RewriteSpec("/v1", "/api")))
        self.client(self.get(b"/v1/x?y"))
        self.assertTrue(self.heard(self.server).startswith(b"GET /api/x?y HTTP/1.1\r\n"))
        self.say(self.server, OK)
        self.assertEqual(self.the_request().target, b"/v1/x?y")
        self.over()

    def test_rewrite_upwards(self) -> None:
        """A pattern cannot be made to lead above the root."""
        self.routes(route("r", rewrite=RewriteSpec("^/img", "/", True)))
        client = self.client(self.get(b"/img../x"))
        self.assertEqual(self.status(self.heard(client)), 400)
        self.over()

    def test_request_header(self) -> None:
        """Fields are set, added and removed; what is known of the request stands in them."""
        edits = (
            edit("set", "X-Client", "{client} {listener} {route} {scheme} {host} {uri}"),
            edit("remove", "User-Agent"),
            edit("add", "X-Also", "1"),
            edit("set", "Host", "inner"),
        )
        self.routes(route("r", request_header=edits))
        lines = (b"User-Agent: a", b"X-Client: me", b"x_client: me", b"X-Also: 0")
        client = self.client(self.get(b"/x", b"example.com", *lines))
        expected = (
            b"GET /x HTTP/1.1\r\nHost: inner\r\nX-Also: 0\r\n"
            b"X-Client: 10.9.9.9 front r http example.com /x\r\nX-Also: 1\r\n" + TOLD + VIA
        )
        self.assertEqual(self.heard(self.server), expected)
        self.say(self.server, OK)
        self.say(client, self.get(b"/x", b"example.com", *lines))
        self.assertEqual(self.heard(self.server), expected)
        self.say(self.server, OK)
        self.over()

    def test_only_of_this_route(self) -> None:
        """What a route changes is not changed for the next request, which says the same."""
        self.routes(
            route("r", "web", {"path": ("/a",)}, request_header=(edit("set", "X-A", "1"),),
                  response_header=(edit("set", "X-B", "1"),)),
        )  # fmt: skip
        client = self.client()
        for target, there in ((b"/a", True), (b"/b", False), (b"/a", True)):
            self.say(client, self.get(target))
            self.assertEqual(b"X-A: 1" in self.heard(self.server), there)
            self.say(self.server, OK)
            self.assertEqual(b"X-B: 1" in self.heard(client), there)
        self.over()

    def test_response_header(self) -> None:
        """The fields of an answer, whoever has made it."""
        edits = (
            edit("set", "X-Frame-Options", "DENY"),
            edit("remove", "Server"),
            edit("set", "X-R", "{route}"),
        )
        self.routes(
            route("own", "", {"path": ("/own",)}, respond=RespondSpec(403), response_header=edits),
            route("r", response_header=edits),
        )
        client = self.client(self.get(b"/own"))
        self.assertIn(b"X-Frame-Options: DENY\r\nX-R: own\r\n", self.heard(client))
        self.say(client, GET)
        self.say(self.server, OK.replace(b"Date", b"Server: nginx\r\nx-frame-options: ALLOW\r\nDate"))
        answer = self.heard(client)
        self.assertIn(b"X-Frame-Options: DENY\r\nX-R: r\r\n", answer)
        self.assertNotIn(b"nginx", answer)
        self.assertNotIn(b"ALLOW", answer)
        self.over()

    def test_trusted(self) -> None:
        """What a proxy that is trusted says of the scheme decides; of others it does not."""
        to = RedirectSpec(301, template("https://{host}{uri}", OF_THE_REQUEST))
        trusting = HttpSpec(trusted=(ip_network("10.9.9.9/32"),))
        self.routes(route("r", "", redirect=to), http=trusting)
        asked = self.get(b"/", b"example.com", b"X-Forwarded-Proto: https")
        client = self.client(asked)
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        self.assertEqual(self.status(self.heard(self.client(asked, host="10.9.9.8"))), 301)
        self.over()


class Limits(RoutedCase):
    """How much may come."""

    def test_rate(self) -> None:
        """Who comes too fast is answered 429, and may go on."""
        self.routes(route("r", request_rate_per_client=RateSpec(1, 10.0)))
        client = self.client(GET)
        self.say(self.server, OK)
        self.say(client, GET)
        answer = self.heard(client)
        self.assertIn(b"HTTP/1.1 429 Too Many Requests\r\n", answer)
        self.assertIn(b"Retry-After: ", answer)
        self.say(self.client(GET, host="10.9.9.8"), b"")
        self.say(self.server, OK)
        self.assertEqual([status for status, _ in self.outcomes()], [200, 429, 200])
        self.assertEqual(self.outcomes()[1][1], Reason.ROUTE_RATE)
        self.over()

    def test_concurrent(self) -> None:
        """A request counts until it is over, however that comes."""
        self.routes(route("r", max_concurrent_requests=1))
        one = self.client(GET)
        two = self.client(GET)
        self.assertEqual(self.status(self.heard(two)), 503)
        one.close()
        self.network.flush()
        self.say(two, GET)
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(two)), 200)
        self.assertIn((503, Reason.ROUTE_FULL), self.outcomes())
        self.over()

    def test_max_body(self) -> None:
        """A body that is said to be too long is not read; one that turns out to be is given up."""
        self.routes(route("r", max_body=10))
        client = self.client(POST + b"Content-Length: 11\r\n\r\n")
        self.assertEqual(self.status(self.heard(client)), 413)
        self.assertEqual(self.datapath.peers, [])
        client = self.client(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        self.say(client, b"6\r\n")
        self.assertEqual(self.status(self.heard(client)), 413)
        self.assertIs(self.server.ended, Ended.RESET)
        client = self.client(
            POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        self.assertEqual(
            [reason for _, reason in self.outcomes()],
            [Reason.BODY_TOO_LARGE, Reason.BODY_TOO_LARGE, Reason.ANSWERED],
        )
        self.over()

    def test_max_body_of_the_listener(self) -> None:
        """A route may have its own, also a larger one; the listener's is for all others."""
        mine = route("mine", condition={"path": ("/mine",)}, max_body=10)
        self.routes(mine, route("r", condition={"path": ("/r",)}), http=HttpSpec(max_body=5))
        for path, status in ((b"/mine", 200), (b"/r", 413), (b"/other", 413)):
            client = self.client(POST.replace(b"/x", path) + b"Content-Length: 7\r\n\r\n1234567")
            if status == 200:
                self.say(self.server, OK)
            self.assertEqual(self.status(self.heard(client)), status, path)
        self.over()

    def test_response_timeout(self) -> None:
        """A route may wait longer, or less long, than its pool."""
        self.routes(route("r", response_timeout=3.0))
        client = self.client(GET)
        self.assertIn(b"GET", self.heard(self.server))
        self.pass_time(4)
        self.assertEqual(self.status(self.heard(client)), 504)
        self.assertEqual(self.outcomes(), [(504, Reason.ANSWER_TIMEOUT)])
        self.assertEqual(self.the_request().detail, "[route r] response_timeout=3s")
        self.over()


class Judge:
    """Who decides in a test."""

    patience = 20.0
    copied: frozenset[bytes] = frozenset()

    def __init__(self) -> None:
        self.verdicts: list[Deferred[Verdict]] = []
        self.asked: list[tuple[bytes, str]] = []

    def judge(self, asked: Any, client: str) -> Deferred[Verdict]:
        self.asked.append((asked.target.whole, client))
        self.verdicts.append(Deferred())
        return self.verdicts[-1]


class Deciding(RoutedCase):
    """A request that waits until it is known who asks."""

    def decide(self, **action: Any) -> Judge:
        routing = self.routes(route("r", **action))
        judge = Judge()
        (course,) = routing.courses
        course.auth, course.patience = judge, judge.patience  # type: ignore[assignment]
        return judge

    def test_yes(self) -> None:
        """It goes on, and the server may be told who it is."""
        judge = self.decide(request_header=(edit("set", "X-User", "{user}"),))
        client = self.client(GET)
        self.assertEqual((judge.asked, self.datapath.peers), ([(b"/x", "10.9.9.9")], []))
        judge.verdicts[0].callback(Verdict("alice"))
        self.assertIn(b"X-User: alice\r\n", self.heard(self.server))
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        self.assertEqual((self.the_request().route, self.the_request().user), ("r", "alice"))
        self.over()

    def test_sent_to_a_login(self) -> None:
        """Where the client is sent by who decides is no path of a server, to be led back where it was."""
        judge = self.decide(rewrite=RewriteSpec("/x", "/", both_ways=True))
        client = self.client(GET)
        judge.verdicts[0].callback(
            Verdict(status=302, words=Words(b"", "text/plain", (b"Location: /login",)))
        )
        self.assertIn(b"Location: /login\r\n", self.heard(client))
        self.over()

    def test_no(self) -> None:
        """The client gets what was decided, and may ask again on the same connection."""
        judge = self.decide()
        client = self.client(GET)
        judge.verdicts[0].callback(Verdict(status=401, words=Words(fields=(b"WWW-Authenticate: Basic",))))
        answer = self.heard(client)
        self.assertEqual((self.status(answer), b"WWW-Authenticate: Basic\r\n" in answer), (401, True))
        self.say(client, GET)
        judge.verdicts[1].callback(Verdict())
        self.say(self.server, OK)
        self.assertEqual(self.outcomes(), [(401, Reason.UNAUTHORIZED), (200, Reason.ANSWERED)])
        self.over()

    def test_body(self) -> None:
        """The body waits, whatever of it has come, and arrives whole and in order."""
        judge = self.decide()
        body = bytes(range(256)) * 1000
        client = self.client(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        self.say(client, body[10:20])
        self.say(client, body[20:])
        self.assertEqual(self.datapath.peers, [])
        (session,) = self.factory.sessions
        self.assertLessEqual(len(session.client.held), 64 * 1024 + 20)
        judge.verdicts[0].callback(Verdict())
        self.assertTrue(self.heard(self.server).endswith(body))
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        self.say(client, POST + b"Content-Length: 2\r\n\r\nab")
        judge.verdicts[1].callback(Verdict())
        self.assertTrue(self.heard(self.server).endswith(b"ab"))
        self.say(self.server, OK)
        self.assertEqual(self.status(self.heard(client)), 200)
        client.finish()
        self.network.flush()
        self.assertEqual(self.factory.sessions, set())
        self.over()

    def test_pipelined(self) -> None:
        """What is asked behind it waits, too."""
        judge = self.decide()
        client = self.client(GET + GET)
        self.assertEqual(len(judge.verdicts), 1)
        judge.verdicts[0].callback(Verdict())
        self.say(self.server, OK)
        self.assertEqual(len(judge.verdicts), 2)
        judge.verdicts[1].callback(Verdict())
        self.say(self.server, OK)
        self.assertEqual(self.heard(client).count(b"200 OK"), 2)
        self.over()

    def test_not_known(self) -> None:
        """If it cannot be known, nobody is let in: 503."""
        judge = self.decide()
        for failure, detail in [
            (Refused(Reason.AUTH_FAILED, "it did not answer"), "it did not answer"),
            (ValueError("a fault"), "a fault"),
        ]:
            client = self.client(GET)
            judge.verdicts[-1].errback(failure)
            self.assertEqual(self.status(self.heard(client)), 503)
            self.assertEqual(self.notebook.requests[-1].detail, detail)
            self.assertIs(self.notebook.requests[-1].reason, Reason.AUTH_FAILED)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.datapath.peers, [])
        self.over()

    def test_too_late(self) -> None:
        """Without a verdict in time the client is told so."""
        judge = self.decide()
        client = self.client(GET)
        self.pass_time(21)
        self.assertEqual(self.status(self.heard(client)), 503)
        self.assertEqual(self.the_request().detail, "there was no verdict within 20 s")
        self.assertTrue(judge.verdicts[0].called)
        self.over()

    def test_client_leaves(self) -> None:
        """Who leaves meanwhile is not waited for, and no server is asked."""
        judge = self.decide()
        client = self.client(GET)
        client.reset()
        self.network.flush()
        self.assertTrue(judge.verdicts[0].called)
        self.assertEqual((self.datapath.peers, self.outcomes()[0][0]), ([], 0))
        self.over()

    def test_refused_at_once(self) -> None:
        """Who decides may have too much to do."""
        judge = self.decide()

        def judged(asked: Any, client: str) -> Any:
            raise Refused(Reason.AUTH_FAILED, "busy")

        judge.judge = judged  # type: ignore[method-assign]
        self.assertEqual(self.status(self.heard(self.client(GET))), 503)
        self.over()
