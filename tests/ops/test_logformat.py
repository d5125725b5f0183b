"""Is a line in a format of the operator's own what that says, whatever clients have sent?"""

from __future__ import annotations

import csv
import json
import re

from proxyd.config.logformat import OF_CONNECTIONS, OF_REQUESTS
from proxyd.config.template import template
from proxyd.errors import Reason
from proxyd.ops.logformat import line_of
from proxyd.records import Record, RequestRecord
from tests.ops.records import names, record, refused, request
from tests.ops.test_accesslog import AWKWARD
from tests.support.case import Case


def any_name(name: str) -> bool:
    """The fields of a message have any name."""
    return True


def of_request(text: str, told: RequestRecord) -> str:
    """The line of a request in this format."""
    return line_of(template(text, OF_REQUESTS, any_name))(told)


def of_connection(text: str, told: Record) -> str:
    """The line of a connection in this format."""
    return line_of(template(text, OF_CONNECTIONS))(told)


def value(beside: str) -> str:
    """What matches a value: a string of JSON, or a word that does not seem to end before that character."""
    return rf'(?:"(?:[^"\\]|\\.)*"|[^" \{beside}]+)'


class Own(Case):
    """Formats of one's own."""

    def test_request(self) -> None:
        """Each place has the value that it is named for."""
        told = request(
            tls="TLSv1.3/X",
            sni="a.example",
            alpn="h2",
            client_cn="Jo Doe",
            server_tls="TLSv1.2/Y/resumed",
            via="10.1.1.1:9",
            route="api",
            user="jo",
            queue_seconds=0.5,
            retries=1,
            chosen="affinity",
            target=b"/a?b=c",
            detail="so it is",
            answer_fields=((b"content-type", b"text/html", b"", 0),),
        )
        for name, expected in {
            "time": "2026-11-22T10:00:00.123Z",
            "time_common": "22/Nov/2026:10:00:00 +0000",
            "time_epoch": "1795341600.123",
            "listener": "web",
            "client": "10.0.0.9:40312",
            "client_address": "10.0.0.9",
            "via": "10.1.1.1:9",
            "pool": "web",
            "server": "a",
            "address": "10.0.0.1:80",
            "route": "api",
            "tls": "TLSv1.3/X",
            "sni": "a.example",
            "alpn": "h2",
            "cn": '"Jo Doe"',
            "server_tls": "TLSv1.2/Y/resumed",
            "queue": "0.500000",
            "connect": "0.000312",
            "first_byte": "0.001204",
            "chosen": "affinity",
            "hedged": "-",
            "total": "0.001913",
            "in": "517",
            "out": "20480",
            "retries": "1",
            "reason": "answered",
            "fault": "nobody",
            "detail": '"so it is"',
            "method": "GET",
            "host": "example.com",
            "target": '"/a?b=c"',
            "path": "/a",
            "query": '"b=c"',
            "version": "1.1",
            "status": "200",
            "user": "jo",
            "request.NAME": "-",
            "response.NAME": "-",
            "request.Referer": "http://example.com/",
            "request.host": "example.com",
            "response.content-type": "text/html",
        }.items():
            self.assertEqual(of_request("{" + name + "}", told), f"{expected}\n", name)

    def test_connection(self) -> None:
        """The same of a connection."""
        told = record(unique_id="0f", server_tls="TLSv1.2/Y", client_tcp={"rtt": 0.5, "mss": 9})
        self.assertEqual(
            of_connection("{client} {id} {server_tls} {client_tcp} {server_tcp} {reason} {cn} 100%", told),
            "10.0.0.9:40312 0f TLSv1.2/Y rtt:0.500000,mss:9 - client_finished - 100%\n",
        )
        self.assertEqual(of_connection("[{server}] {connect} {fault}", refused()), "[-] - server\n")

    def test_every_place(self) -> None:
        """Whatever the configuration allows can be written."""
        for name in OF_REQUESTS:
            self.assertTrue(of_request("{" + name + "}", request()).endswith("\n"))
        for name in OF_CONNECTIONS:
            self.assertTrue(of_connection("{" + name + "}", record()).endswith("\n"))

    def test_all_fields(self) -> None:
        """Nothing that a record knows is without a place."""
        called = {
            "started": "time",
            "total_seconds": "total",
            "connect_seconds": "connect",
            "queue_seconds": "queue",
            "first_byte_seconds": "first_byte",
            "bytes_in": "in",
            "bytes_out": "out",
            "server_address": "address",
            "client_cn": "cn",
            "unique_id": "id",
            "minor": "version",
            "http2": "version",
            "fields": "request.NAME",
            "answer_fields": "response.NAME",
        }
        for of, places, besides in (
            (RequestRecord, OF_REQUESTS, {"cache"}),
            (Record, OF_CONNECTIONS, {"requests"}),  # it has a line only if that is nothing
        ):
            known = names(of) - besides
            self.assertEqual({called.get(name, name) for name in known} - set(places), set())

    def test_addresses(self) -> None:
        """An address without its port, of each kind."""
        for client, alone in (("[2001:db8::1]:5", "2001:db8::1"), ("unix:/a:b", "unix:/a:b")):
            self.assertEqual(of_connection("{client_address}", record(client=client)), f"{alone}\n")

    def test_several_fields(self) -> None:
        """Fields of one name are one value, as they are for servers (RFC 9110, 5.3)."""
        told = request(fields=((b"x", b"1", b"", 0), (b"y", b"2", b"", 0), (b"x", b"3", b"", 0)))
        self.assertEqual(of_request('"{request.X}"', told), '"1, 3"\n')

    def test_apache(self) -> None:
        """Apache's combined format can be written so."""
        self.assertEqual(
            of_request(
                '{client_address} - {user} [{time_common}] "{method} {target} HTTP/{version}" {status} {out} '
                '"{request.referer}" "{request.user-agent}"',
                request(),
            ),
            '10.0.0.9 - - [22/Nov/2026:10:00:00 +0000] "GET /index.html HTTP/1.1" 200 20480 '
            '"http://example.com/" "a \\"quoted\\\\ agent\\u00e4"\n',
        )

    def test_a_line_stays_a_line(self) -> None:
        """No value ends its line, its quotes or its column, whatever is in it."""
        names = ("method", "host", "target", "user", "detail", "route", "request.x", "sni", "cn")
        for text in (*AWKWARD, "a,b", "a]b", "a|b", "a{b}%s"):
            said = text.encode("utf-8", "surrogatepass")
            told = request(
                method=said, host=said, target=said, user=text, detail=text, route=text, sni=text,
                client_cn=text, fields=((b"x", said, b"", 0),),
            )  # fmt: skip
            for name in names:
                place = "{" + name + "}"
                line = of_request(f'{{{{"a":"{place}","status":{{status}}}}}}', told)
                self.assertTrue(line.isascii() and line.count("\n") == 1)
                self.assertEqual(json.loads(line)["status"], 200)
                line = of_request(f"{place} [{place}] {{status}}", told)
                self.assertTrue(line.isascii() and line.count("\n") == 1)
                self.assertIsNotNone(re.fullmatch(rf"{value(' ')} \[{value(']')}\] 200\n", line), line)
                for cut in ",", "|", ";", "\t":
                    line = of_request(f"{place}{cut}{{status}}{cut}{place}", told)
                    self.assertIsNotNone(
                        re.fullmatch(rf"{value(cut)}\{cut}200\{cut}{value(cut)}\n", line), line
                    )

    def test_columns(self) -> None:
        """Who separates with commas gets as many columns as there are places."""
        line = of_request("{target},{status},{host}", request(target=b"/a,b", host=b"c,d"))
        self.assertEqual(next(csv.reader([line.rstrip()])), ["/a,b", "200", "c,d"])
        self.assertEqual(of_request("{target} {status}", request(target=b"/a,b")), "/a,b 200\n")

    def test_reasons(self) -> None:
        """Whose fault it was stands beside the reason."""
        told = request(reason=Reason.NO_ANSWER, status=502)
        self.assertEqual(of_request("{status} {reason} {fault}", told), "502 no_answer server\n")
