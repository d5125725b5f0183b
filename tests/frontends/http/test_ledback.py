"""Where paths are rewritten for a server, does its client read paths that lead back to it?"""

from __future__ import annotations

from proxyd.config.action import RewriteSpec
from tests.frontends.http.front import OK
from tests.frontends.http.test_routed import RoutedCase, route


class LedBack(RoutedCase):
    """Redirects and cookies of servers that know their own paths alone."""

    def test_led_back(self) -> None:
        """Where the server names its own places, the client reads the paths that lead there."""
        plain, both = RewriteSpec("/v1", "/"), RewriteSpec("/v2", "/", both_ways=True)
        self.routes(
            route("v1", "web", {"path": ("/v1",)}, rewrite=plain),
            route("v2", "web", {"path": ("/v2",)}, rewrite=both),
        )
        client = self.client()
        for said, one_way, both_ways in (
            (b"Location: http://10.0.0.1:1/x?y", b"http://a/v1/x?y", b"http://a/v2/x?y"),
            (b"Location: //10.0.0.1:1/x", b"http://a/v1/x", b"http://a/v2/x"),
            (b"Content-Location: http://10.0.0.1:1", b"http://a/v1", b"http://a/v2"),
            (b"Location: /x", b"/x", b"/v2/x"),
            (b"Location: http://a/x", b"http://a/x", b"http://a/v2/x"),
            (b"Location: https://a/", b"https://a/", b"https://a/v2/"),
            (b"Location: http://b/x", b"http://b/x", b"http://b/x"),
            (b"Location: x", b"x", b"x"),
            (b"Location: //b/x", b"//b/x", b"//b/x"),
            (b"Location: ", b"", b""),
            (b"Set-Cookie: a=b; Path=/; HttpOnly", b"a=b; Path=/; HttpOnly", b"a=b; Path=/v2; HttpOnly"),
            (b"Set-Cookie: a=/; path=/x", b"a=/; path=/x", b"a=/; path=/v2/x"),
            (b"Set-Cookie: a=b", b"a=b", b"a=b"),
            (b"X: /x", b"/x", b"/x"),
        ):
            for target, led in ((b"/v1/a", one_way), (b"/v2/a", both_ways), (b"/v1/a", one_way)):
                self.say(client, self.get(target).replace(b"example.com", b"a"))
                self.say(self.server, OK.replace(b"Date", said + b"\r\nDate"))
                line = said.partition(b":")[0] + b": " + led + b"\r\n"
                self.assertIn(line, self.heard(client), (said, target))
        self.over()

    def test_no_host_is_made_of_a_path(self) -> None:
        """What is left of a path when its beginning goes does not lead to another host."""
        self.routes(route("app", "web", {}, rewrite=RewriteSpec("/", "/app/", both_ways=True)))
        client = self.client()
        for said, led in (
            (b"/app/x", b"/x"),
            (b"/app//b.example/", b"/.//b.example/"),
            (b"/app/\\b.example/", b"/./\\b.example/"),
            (b"http://example.com/app//b.example/", b"http://example.com//b.example/"),
        ):
            self.say(client, self.get(b"/x"))
            self.say(self.server, OK.replace(b"Date", b"Location: " + said + b"\r\nDate"))
            self.assertIn(b"Location: " + led + b"\r\n", self.heard(client))
        self.over()
