"""Is the way of a request explained as it would go?"""

from __future__ import annotations

import ipaddress
from typing import Any

from attrs import evolve

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
from proxyd.config.affinity import AffinitySpec, CookieSpec
from proxyd.config.auth import BasicSpec, ForwardSpec
from proxyd.config.balance import BalanceSpec
from proxyd.config.condition import ConditionSpec, Values
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import Clients
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.route import RouteSpec
from proxyd.config.template import template
from proxyd.errors import Malformed, Reason
from proxyd.policy.cookie import Sealed
from proxyd.policy.explainrequest import Led, SupposedRequest, key_in, led, server_of, supposed_request
from proxyd.policy.lists import Lists
from tests.support.case import Case

NOTHING = ActionSpec()


def route(
    name: str, pool: str = "p", action: ActionSpec = NOTHING, sni: tuple[str, ...] = (), **wanted: Any
) -> RouteSpec:
    """A route with these conditions."""
    return RouteSpec(name, ("web",), pool, sni=sni, condition=ConditionSpec(**wanted), action=action)


def way(*routes: RouteSpec, request: SupposedRequest, client: bytes = b"", pool: str = "w") -> Led:
    """The way of a request at a listener with these routes."""
    listener = ListenerSpec("web", (), pool, protocol="http", routes=routes)
    return led(listener, Lists(()), request, client)


class ExplainRequest(Case):
    def test_taken(self) -> None:
        """The first that fits is taken, and why the others are not is said of each condition."""
        found = way(
            route("post", method=("POST",), path=("/v1", "/v2")),
            route("api", pool="api", host=("*.example.com",)),
            route("rest"),
            request=supposed_request("GET", "api.example.com", "/a//b?c"),
        )
        self.assertEqual(
            found,
            Led(
                "it asks api.example.com for GET /a//b?c, which is /a/b",
                (
                    (
                        "post",
                        "p",
                        False,
                        "path = /v1 /v2, and the path is /a/b; method = POST, and the method is GET",
                    ),
                    ("api", "api", True, "all its conditions hold"),
                    ("rest", "p", False, "fits, but api stands before it"),
                ),
                "api",
                ("the server is asked for /a/b?c",),
            ),
        )

    def test_conditions(self) -> None:
        """What a condition asks for, and what the request has instead."""
        request = supposed_request("GET", "a.com", "/x?q=2", ["X-A: y", "Cookie: c=1"])
        for wanted, why in [
            ({"host": ("b.com",)}, "host = b.com, and the host is a.com"),
            ({"path_exact": ("/",)}, "path_exact = /, and the path is /x"),
            ({"path_regex": ("^/y",)}, "path_regex = ^/y, and the path is /x"),
            (
                {"header": (("x-a", Values(texts=("z", ""))), ("x-b", Values(True)))},
                "header x-a = z ''; header x-b = *, and header x-a is y, x-b is not there",
            ),
            ({"query": (("q", Values(patterns=("^1",))),)}, "query q = ~^1, and parameter q is 2"),
            ({"cookie": (("c", Values(texts=("2",))),)}, "cookie c = 2, and cookie c is 1"),
            (
                {"client": Clients((ipaddress.ip_network("10.0.0.0/8"),))},
                "client = 10.0.0.0/8, and the client is another",
            ),
            ({"sni": ("b.com",)}, "sni = b.com, and the client asks TLS for no name"),
        ]:
            found = way(route("r", **wanted), request=request)  # type: ignore[arg-type]
            self.assertEqual(found.routes, (("r", "p", False, why),))
            self.assertEqual(found.pool, "w")
        nameless = evolve(request, host=b"")
        self.assertIn("no host is named", way(route("r", host=("b.com",)), request=nameless).routes[0][3])

    def test_actions(self) -> None:
        """What is done with it."""
        request = supposed_request("GET", "a.com", "/v1/x?y", secure=True)
        edits = (
            EditSpec("set", "X-Host", template("{host}", OF_ALL)),
            EditSpec("set", "X-C", template("{client} at {listener} by {route} as {user}", OF_ALL)),
        )
        for action, pool, actions in [
            (
                ActionSpec(redirect=RedirectSpec(301, template("{scheme}://b.com{uri}", OF_THE_REQUEST))),
                "",
                ("the client is sent to https://b.com/v1/x?y, by 301",),
            ),
            (ActionSpec(respond=RespondSpec(403)), "", ("the client is answered 403",)),
            (
                ActionSpec(
                    rewrite=RewriteSpec("/v1", "/api"),
                    request_header=edits,
                    response_header=(EditSpec("remove", "Server"),),
                ),
                "p",
                (
                    "the server is asked for /api/x?y",
                    "in the request: set X-Host a.com",
                    "in the request: set X-C 10.1.2.3 at web by r as {user}",
                    "in the answer: remove Server",
                ),
            ),
        ]:
            found = way(route("r", pool, action), request=request, client=b"\x0a\1\2\3")
            self.assertEqual((found.pool, found.actions, found.reason), (pool, actions, None))

    def test_who_asks(self) -> None:
        """That it must be known who asks is told, before what is done then."""
        request = supposed_request("GET", "a.com", "/")
        for action, first in [
            (ActionSpec(auth=BasicSpec("/x/users")), "a user of /x/users must give a password; else 401"),
            (ActionSpec(forward_auth=ForwardSpec("http://a/")), "http://a/ is asked, and must say yes"),
        ]:
            found = way(route("r", action=action), request=request)
            self.assertEqual(found.actions, (first, "the server is asked for /"))

    def test_circle(self) -> None:
        """A route that would send the request where it is does not fit, and says so."""
        action = ActionSpec(redirect=RedirectSpec(301, template("http://a.com{uri}", OF_THE_REQUEST)))
        found = way(route("r", "", action), request=supposed_request("GET", "a.com", "/"))
        self.assertEqual(found.routes, (("r", "", False, "it would lead where the request already is"),))

    def test_refused(self) -> None:
        """A request that is answered 400, 404 or 500."""
        for routes, target, reason, detail in [
            (
                (route("r", path=("/x",)),),
                "/..",
                Reason.REQUEST_MALFORMED,
                "/.. leads above the root (RFC 3986 6.2.2.3)",
            ),
            (
                (route("r", path=("/x",)),),
                "/",
                Reason.NO_ROUTE,
                "no route fits, and the listener has no pool",
            ),
            (
                (route("r", path_regex=("^/(a|a)*$",)),),
                "/" + "a" * 40 + "!",
                Reason.ROUTE_UNDECIDED,
                "route r: '^/(a|a)*$' takes too long",
            ),
        ]:
            found = way(*routes, request=supposed_request("GET", "a", target), pool="")
            self.assertEqual((found.reason, found.detail), (reason, detail))

    def test_key(self) -> None:
        """What a pool's hash goes by is in the request, if it is of requests at all."""
        request = supposed_request("GET", "a.com", "/x?q=2", ["X-Tenant: 7"])
        for key, found in (("path", b"/x"), ("header:x-tenant", b"7"), ("cookie:c", b""), ("source", b"")):
            spec = PoolSpec("w", (), balance=BalanceSpec("hash", key=key))
            self.assertEqual(key_in(spec, request), found, key)

    def test_cookies(self) -> None:
        """A cookie that was sealed for a server of the pool leads to it; nothing else does."""
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 1)) for name in "ab")
        spec = PoolSpec("web", servers, affinity=AffinitySpec("cookie", cookie=CookieSpec("SRV")))
        sealed = Sealed(b"secret", "web")
        request = supposed_request("GET", "a", "/", [f"Cookie: SRV={sealed.seal('b', bytes(8)).decode()}"])
        self.assertEqual(server_of(spec, request, b"secret"), "b")
        gone = supposed_request("GET", "a", "/", [f"Cookie: SRV={sealed.seal('c', bytes(8)).decode()}"])
        source = evolve(spec, affinity=AffinitySpec("source"))
        for other, asked, secret in (
            (spec, gone, b"secret"),
            (spec, request, b"other"),
            (spec, request, b""),
            (spec, SupposedRequest(), b"secret"),
            (source, request, b"secret"),
            (evolve(spec, affinity=None), request, b"secret"),
        ):
            self.assertEqual(server_of(other, asked, secret), "")

    def test_no_request(self) -> None:
        """What nobody could ask is said to be none."""
        for method, host, target, lines in [
            ("G T", "a", "/", []),
            ("GET", "a b", "/", []),
            ("GET", "a", "x", []),
            ("GET", "a", "/", ["X A: b"]),
            ("GET", "a", "/", ["Content-Length: x"]),
        ]:
            self.assertRaises(Malformed, supposed_request, method, host, target, lines)
