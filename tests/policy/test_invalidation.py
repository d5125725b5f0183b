"""Which stored answers does a request make invalid?"""

from __future__ import annotations

from proxyd.policy.invalidation import invalidated
from proxyd.wire.httpfields import parse_field
from tests.support.case import Case

HERE = b"http://a.example/x/y?z"


class Invalidation(Case):
    def test_rows(self) -> None:
        """RFC 9111, 4.4."""
        for method, status, lines, others in (
            (b"GET", 200, [b"Location: /n"], None),
            (b"HEAD", 200, [], None),
            (b"OPTIONS", 200, [], None),
            (b"POST", 200, [], []),
            (b"PUT", 204, [], []),
            (b"DELETE", 303, [], []),
            (b"WHATEVER", 200, [], []),  # of one that nobody knows it is not known that it is safe
            (b"POST", 404, [], None),
            (b"POST", 500, [], None),
            (b"POST", 201, [b"Location: /n"], [b"http://a.example/n"]),
            (b"POST", 201, [b"Location: n#f"], [b"http://a.example/x/n"]),
            (b"POST", 201, [b"Content-Location: ?q"], [b"http://a.example/x/y?q"]),
            (
                b"POST",
                201,
                [b"Location: /n", b"Content-Location: /m"],
                [b"http://a.example/n", b"http://a.example/m"],
            ),
            (b"POST", 201, [b"Location: HTTP://A.example:80/n"], [b"http://a.example/n"]),
            (b"POST", 201, [b"Location: http://b.example/n"], []),
            (b"POST", 201, [b"Location: //b.example/n"], []),
            (b"POST", 201, [b"Location: https://a.example/n"], []),
            (b"POST", 201, [b"Location: http://a.example:81/n"], []),
            (b"POST", 201, [b"Location: http://a.example@b.example/n"], []),
            (b"POST", 201, [b"Location: http://[x/n"], []),
            (b"POST", 201, [b"Location: mailto:a@b"], []),
            (b"POST", 201, [b"Location: /x/y?z"], []),
        ):
            found = invalidated(method, status, HERE, [parse_field(line) for line in lines])
            self.assertEqual(found, [] if others is None else [HERE, *others], (method, status, lines))
