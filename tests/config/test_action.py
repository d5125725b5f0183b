"""Is what routes do with requests taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.action import (
    OF_ALL,
    OF_THE_REQUEST,
    ActionSpec,
    EditSpec,
    RedirectSpec,
    RespondSpec,
    RewriteSpec,
)
from proxyd.config.limits import RateSpec
from proxyd.config.template import template
from tests.config.test_condition import HttpCase


class ActionTests(HttpCase):
    def action(self, options: str) -> ActionSpec:
        return self.route(options).action

    def test_pool(self) -> None:
        """A route to a pool, with all that it may change on the way."""
        self.assertEqual(
            self.action(
                "pool = p\nrewrite = /v1 /api\n"
                "request_header = set X-Client {client}\n"
                "request_header = remove Authorization\n"
                "request_header = set Host a.com\n"
                "response_header = add X-A 'b c'\n"
                "request_rate = 100/s\nrequest_rate_per_client = 10/2s\n"
                "request_rate_per_header X-Key = 1/1m\nmax_concurrent_requests = 5\n"
                "max_body = 1M\nresponse_timeout = 2m\nretries = 0"
            ),
            ActionSpec(
                rewrite=RewriteSpec("/v1", "/api"),
                request_header=(
                    EditSpec("set", "X-Client", template("{client}", OF_ALL)),
                    EditSpec("remove", "Authorization"),
                    EditSpec("set", "Host", template("a.com", OF_ALL)),
                ),
                response_header=(EditSpec("add", "X-A", template("b c", OF_ALL)),),
                request_rate=RateSpec(100, 1.0),
                request_rate_per_client=RateSpec(10, 2.0),
                request_rate_per_header=(("x-key", RateSpec(1, 60.0)),),
                max_concurrent_requests=5,
                max_body=1024 * 1024,
                response_timeout=120.0,
                retries=0,
            ),
        )
        self.assertEqual(
            self.action(r"pool = p" "\n" r"rewrite = ~^/a(.)$$ /b\1").rewrite,
            RewriteSpec("^/a(.)$", r"/b\1", True),
        )
        both = self.action("pool = p\nrewrite = /v1 / both_ways").rewrite
        self.assertEqual((both, str(both)), (RewriteSpec("/v1", "/", both_ways=True), "/v1 / both_ways"))

    def test_ends(self) -> None:
        """A route sends clients elsewhere, or answers them."""
        for option, spec in [
            (
                "redirect = 308 https://{host}{uri}",
                ActionSpec(redirect=RedirectSpec(308, template("https://{host}{uri}", OF_THE_REQUEST))),
            ),
            ("respond = 403", ActionSpec(respond=RespondSpec(403))),
            ("respond = 200 'a b'", ActionSpec(respond=RespondSpec(200, "a b"))),
            (
                "respond = 503 file:/x/sorry.html",
                ActionSpec(respond=RespondSpec(503, None, "/x/sorry.html", "text/html; charset=utf-8")),
            ),
            (
                "respond = 200 file:/x/robots",
                ActionSpec(respond=RespondSpec(200, None, "/x/robots", "application/octet-stream")),
            ),
        ]:
            self.assertEqual(self.action(option), spec)
            self.assertEqual(self.route(option).pool, "")
        path = self.action("respond = 200 file:a.txt").respond
        self.assertEqual(path and path.path, f"{self.folder}/a.txt")

    def test_refused(self) -> None:
        """What cannot be done is said with its line and what would be right."""
        for option, problem in [
            ("redirect = https://a.com", "redirect: is a status and where to, as in 301 https://{host}{uri}"),
            (
                "redirect = 300 /",
                'redirect: "300" is no status that sends clients elsewhere; '
                "known are 301, 302, 303, 307, 308",
            ),
            (
                "redirect = 301 a.com",
                'redirect: "a.com" is no place; it begins with http://, https://, / or {scheme}://',
            ),
            (
                "redirect = 301 //a.com",
                'redirect: "//a.com" is no place; it begins with http://, https://, / or {scheme}://',
            ),
            ("redirect = 301 /{hots}", 'redirect: {hots}: "hots" is not known; did you mean "host"?'),
            (
                "redirect = 301 /{client}",
                'redirect: {client}: "client" is not known; known here: scheme, host, path, query, uri',
            ),
            (
                "redirect = 301 /{host",
                'redirect: "/{host" has a brace that is not closed; a brace itself is written twice',
            ),
            ("respond = 99", 'respond: "99" is not a status of 200 to 599'),
            ("respond = 101", 'respond: "101" is not a status of 200 to 599'),
            ("respond = 403 a b", 'respond: "b" is one word too many; a text with blanks stands in quotes'),
            ("respond = 204 a", "respond: 204 has no body (RFC 9110, 15)"),
            (
                "respond = 200 file:",
                'respond: "file:" names no file; write file:/etc/proxyd/sorry.html, for example',
            ),
        ]:
            self.assertEqual(self.refused(option), [f"1 {problem}"])

    def test_refused_beside_a_pool(self) -> None:
        """The same of what is done on the way to a server."""
        for option, problem in [
            ("rewrite = /a", "rewrite: is what is found and what stands for it, as in /v1 /api/v1"),
            (
                "rewrite = a /b",
                'rewrite: "a" is not a path; it begins with / and has no blank, ?, # or backslash',
            ),
            (
                "rewrite = ~a /b both_ways",
                "rewrite: what a pattern has made cannot be led back; both_ways is for paths",
            ),
            (r"rewrite = ~(a) /\2", r'rewrite: "/\2" has \2, and the pattern has 1 groups'),
            (r"rewrite = ~a /\1", r'rewrite: "/\1" has \1, and the pattern has no groups'),
            (
                r"rewrite = ~a /b?c",
                r'rewrite: "/b?c" cannot stand in a path; ASCII does, without blanks, # and ?, and \1',
            ),
            ("request_header = put A b", 'request_header: "put" is not known; known here: set, add, remove'),
            (
                "request_header = set A",
                "request_header: is written set NAME VALUE; a value with blanks stands in quotes",
            ),
            ("request_header = remove A b", "request_header: is written remove NAME"),
            ("request_header = set A: b", 'request_header: "A:" is not the name of a field'),
            (
                "request_header = set Content-Length 5",
                "request_header: Content-Length is made by the proxy itself, for each message",
            ),
            (
                "request_header = add Host a",
                "request_header: Host is made by the proxy itself, for each message",
            ),
            (
                "response_header = set Host a",
                "response_header: Host is made by the proxy itself, for each message",
            ),
            (
                "request_header = set A é",
                'request_header: "é" has a letter that no field has; ASCII does',
            ),
            (
                "request_header = set A {b}",
                'request_header: {b}: "b" is not known; known here: scheme, host, path, '
                "query, uri, client, listener, route, user",
            ),
            (
                "redirect = 301 /",
                "redirect: cannot be beside pool; a route does one of pool, redirect, respond and root",
            ),
            (
                "respond = 403",
                "respond: cannot be beside pool; a route does one of pool, redirect, respond and root",
            ),
        ]:
            self.assertEqual(self.refused(f"{option}\npool = p"), [f"1 {problem}"])

    def test_without_a_server(self) -> None:
        """What is about servers makes no difference where none is asked."""
        for option in (
            "rewrite = /a /b",
            "request_header = remove A",
            "response_timeout = 1s",
            "retries = 1",
        ):
            name = option.split()[0]
            self.assertEqual(
                self.refused(f"{option}\nrespond = 403"),
                [f"1 {name}: is about a server, and with respond none is asked"],
            )
        self.assertEqual(
            self.refused("redirect = 301 /\nrespond = 403"),
            ["2 respond: cannot be beside redirect; a route does one of pool, redirect, respond and root"],
        )

    def test_user(self) -> None:
        """Nobody is known by name without a password."""
        for option in ("request_header", "response_header"):
            line = f"pool = p\n{option} = set X-User {{user}}"
            problem = f"2 {option}: {{user}} is who has been let in by auth, and there is none"
            self.assertEqual(self.refused(line), [problem])
            self.assertEqual(self.route(f"{line}\nauth = basic file:/x").pool, "p")

    def test_nothing(self) -> None:
        """A route that does nothing is told what it could do."""
        self.assertEqual(
            self.refused("host = a.com"),
            ["-1 pool: is missing; write pool = api, for example, or redirect, respond or root"],
        )
