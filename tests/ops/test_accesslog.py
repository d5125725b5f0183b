"""Does each connection leave one line that people and programs can read?"""

from __future__ import annotations

import json
import os
import random

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from proxyd.config import logformat
from proxyd.config.daemon import AccessLogSpec
from proxyd.errors import Reason, StartError
from proxyd.interfaces import IObserver
from proxyd.ops import requestlog
from proxyd.ops.accesslog import FORMATS, AccessLog, json_line, text_line
from proxyd.ops.words import LONGEST_VALUE, moment, word
from proxyd.records import Record
from tests.ops.records import names, record, refused, request
from tests.support.case import Case

AWKWARD = [
    "",
    "-",
    "two words",
    'a "quoted" word',
    "back\\slash",
    "a=b",
    "line\nbreak",
    "\r\n2026-11-22T10:00:00.000Z listener=forged",
    "nul\0 bell\7 escape\x1b[31m delete\x7f",
    "next line\x85 line separator\u2028 paragraph\u2029",
    "Grüße 你好 \U0001f600",
    "lone surrogate \udc80",
    "x" * 10_000,
    '"' * 10_000,
    "\n",
    "-\n",
]


def fields(line: str) -> dict[str, str]:
    """Read a text line back: a time, then names with bare or JSON values."""
    found = {}
    rest = line[line.index(" ") + 1 :].rstrip("\n")
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end + 1 :]
        else:
            value, _, rest = rest.partition(" ")
        found[name] = value
    return found


class TextLine(Case):
    """A line of text."""

    def test_ordinary(self) -> None:
        """An ordinary connection reads as the documentation shows it."""
        self.assertEqual(
            text_line(record()),
            "2026-11-22T10:00:00.123Z listener=web client=10.0.0.9:40312 pool=web server=a"
            " address=10.0.0.1:80 via=- sni=- route=- id=- tls=- alpn=- cn=- queue=- connect=0.000312"
            " total=1.204113 in=517 out=20480 retries=0"
            " server_tls=- client_tcp=- server_tcp=- reason=client_finished fault=nobody detail=-\n",
        )

    def test_unknown_is_a_dash(self) -> None:
        """A connection that reached no server has dashes where the server would be."""
        line = text_line(refused(pool="", retries=2, detail="all 3 servers are down"))
        self.assertIn(
            " pool=- server=- address=- via=- sni=- route=- id=- tls=- alpn=- cn=- queue=- connect=- ", line
        )
        self.assertIn(
            ' reason=no_server fault=server detail="all 3 servers are down"\n',
            line,
        )

    def test_chosen(self) -> None:
        """By what the client got the server is told where that is not the usual."""
        self.assertIn(" address=10.0.0.1:80 chosen=backup via=- ", text_line(record(chosen="backup")))
        self.assertEqual(text_line(record(chosen="balance")), text_line(record()))
        self.assertEqual(json.loads(json_line(record(chosen="balance")))["chosen"], "balance")

    def test_what_the_opening_said(self) -> None:
        """Who told of the client, the name it asked for, its route, and what the server calls it."""
        told = record(via="10.1.1.1:9", sni="a b", route="api", unique_id="0f")
        self.assertIn(
            ' via=10.1.1.1:9 sni="a b" route=api id=0f tls=- alpn=- cn=- queue=- connect=', text_line(told)
        )
        for name in ("via", "sni", "route", "unique_id"):
            found = fields(text_line(record(**{name: "x"})))
            known = {one: found[one] for one in ("via", "sni", "route", "id") if found[one] != "-"}
            self.assertEqual(known, {name.replace("unique_", ""): "x"})
            self.assertEqual(json.loads(json_line(told))[name], getattr(told, name))

    def test_tls_that_ended_here(self) -> None:
        """Its version, its cipher, and who the client is by its certificate."""
        told = record(tls="TLSv1.3/TLS_AES_128_GCM_SHA256", alpn="h2", client_cn="Jo Doe")
        self.assertIn(
            ' id=- tls=TLSv1.3/TLS_AES_128_GCM_SHA256 alpn=h2 cn="Jo Doe" queue=- ', text_line(told)
        )
        self.assertEqual(json.loads(json_line(told))["client_cn"], "Jo Doe")

    def test_tls_with_the_server(self) -> None:
        """Its version, its cipher, and whether it took up a session."""
        told = record(server_tls="TLSv1.3/TLS_AES_128_GCM_SHA256/resumed")
        self.assertEqual(fields(text_line(told))["server_tls"], told.server_tls)
        self.assertEqual(json.loads(json_line(told))["server_tls"], told.server_tls)

    def test_every_reason(self) -> None:
        """Each reason is found by its code, and so is its fault."""
        for reason in Reason:
            found = fields(text_line(record(reason=reason)))
            self.assertEqual((found["reason"], found["fault"]), (reason.code, reason.fault.value))

    def test_awkward_values(self) -> None:
        """No value breaks the line, fakes a field or is lost, whatever is in it."""
        for text in AWKWARD:
            for name in ("listener", "client", "pool", "server", "server_address", "detail"):
                line = text_line(record(**{name: text}))
                self.assertTrue(line[:-1].isprintable() and line.isascii() and line.endswith("\n"), line)
                expected = fields(text_line(record()))
                expected[name.replace("server_address", "address")] = text[:LONGEST_VALUE] or "-"
                self.assertEqual(fields(line), expected)

    def test_a_dash_that_is_a_value(self) -> None:
        """A value that is a dash cannot be taken for an unknown one."""
        self.assertEqual((word(""), word("-")), ("-", '"-"'))

    def test_random_values(self) -> None:
        """Any text comes back as it was."""
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        for _ in range(500):
            text = "".join(chr(chance.choice((9, 10, 32, 34, 45, 61, 92, 97, 127, 8232))) for _ in range(4))
            self.assertEqual(fields(text_line(record(detail=text)))["detail"], text, f"seed {seed}")


class JsonLine(Case):
    """A line of JSON."""

    def test_ordinary(self) -> None:
        """An object has the record's names, and the fault."""
        line = json_line(record())
        self.assertEqual(line.count("\n"), 1)
        self.assertEqual(
            json.loads(line),
            {
                "started": "2026-11-22T10:00:00.123Z",
                "listener": "web",
                "client": "10.0.0.9:40312",
                "pool": "web",
                "server": "a",
                "server_address": "10.0.0.1:80",
                "chosen": "",
                "via": "",
                "sni": "",
                "route": "",
                "unique_id": "",
                "tls": "",
                "client_cn": "",
                "alpn": "",
                "server_tls": "",
                "queue_seconds": None,
                "connect_seconds": 0.000312,
                "total_seconds": 1.204113,
                "bytes_in": 517,
                "bytes_out": 20480,
                "retries": 0,
                "requests": None,
                "client_tcp": None,
                "server_tcp": None,
                "reason": "client_finished",
                "fault": "nobody",
                "detail": "",
            },
        )

    def test_tcp_info(self) -> None:
        """What the kernel knew of each side is an object of its own; of a unix socket it knows nothing."""
        found = json.loads(json_line(record(client_tcp={"rtt": 0.000312, "mss": 1448})))
        self.assertEqual(found["client_tcp"], {"rtt": 0.000312, "mss": 1448})
        self.assertIs(found["server_tcp"], None)

    def test_all_fields(self) -> None:
        """Nothing that the record knows is left out."""
        self.assertEqual(set(json.loads(json_line(record()))), names(Record) | {"fault"})

    def test_awkward_values(self) -> None:
        """No value breaks the line or is lost, whatever is in it."""
        for text in AWKWARD:
            for name in ("listener", "client", "pool", "server", "server_address", "detail"):
                line = json_line(record(**{name: text}))
                self.assertTrue(line[:-1].isprintable() and line.isascii() and line.endswith("\n"), line)
                self.assertEqual(json.loads(line)[name], text[:LONGEST_VALUE])

    def test_unknown_connect(self) -> None:
        """A connect that never succeeded took no time at all."""
        self.assertIsNone(json.loads(json_line(refused()))["connect_seconds"])

    def test_numbers_that_json_lacks(self) -> None:
        """A duration that is no number does not make a line that no program can read."""
        line = json_line(record(total_seconds=float("inf"), connect_seconds=float("nan")))
        found = json.loads(line, parse_constant=self.fail)
        self.assertEqual((found["total_seconds"], found["connect_seconds"]), (None, None))


class Moment(Case):
    """The time of a line."""

    def test_times(self) -> None:
        """Times are UTC with milliseconds, rounded; what no calendar has is unknown."""
        for epoch, expected in (
            (0, "1970-01-01T00:00:00.000Z"),
            (0.0006, "1970-01-01T00:00:00.001Z"),
            (1795341600.9996, "2026-11-22T10:00:01.000Z"),
            (-0.5, "1969-12-31T23:59:59.500Z"),
            (float("nan"), None),
            (float("inf"), None),
            (1e30, None),
        ):
            self.assertEqual(moment(epoch), expected, epoch)
        self.assertEqual(text_line(record(started=float("nan")))[:2], "- ")
        self.assertIsNone(json.loads(json_line(record(started=float("nan"))))["started"])


class WholeAccessLog(Case):
    """The observer."""

    def test_provides(self) -> None:
        """It can be told of connections."""
        verifyObject(IObserver, AccessLog(AccessLogSpec(), Clock()))

    def test_formats(self) -> None:
        """Every format that the configuration allows can be written."""
        self.assertEqual({*FORMATS, "combined"}, set(logformat.NAMED))
        self.assertEqual(set(requestlog.FORMATS), set(logformat.NAMED))

    def test_requests(self) -> None:
        """Requests have lines of their own, and the connection that brought them has none."""
        for name in logformat.NAMED:
            path, clock = self.mktemp(), Clock()
            log = AccessLog(AccessLogSpec(path, name), clock)
            log.open()
            log.answered(request())
            log.closed(record(requests=1))
            log.closed(record(requests=0))
            log.closed(record())
            log.close()
            with open(path) as file:
                line = FORMATS.get(name, lambda _: "")
                self.assertEqual(
                    file.read(),
                    requestlog.FORMATS[name](request()) + line(record(requests=0)) + line(record()),
                )

    def test_to_a_file(self) -> None:
        """Lines of the format that was asked for are in the file a fifth of a second later."""
        for name, line in ("text", text_line), ("json", json_line):
            path, clock = self.mktemp(), Clock()
            log = AccessLog(AccessLogSpec(path, name), clock)
            log.open()
            log.closed(record())
            log.closed(refused())
            clock.advance(0.2)
            with open(path) as file:
                self.assertEqual(file.read(), line(record()) + line(refused()))
            log.close()
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_cannot_open(self) -> None:
        """A file that cannot be opened stops the start, and the message names it and says why."""
        path = os.path.join(self.mktemp(), "access.log")
        error = self.assertRaises(StartError, AccessLog(AccessLogSpec(path), Clock()).open)
        self.assertEqual(
            error.lines,
            (f"{os.path.abspath(path)}: cannot be opened for appending: No such file or directory",),
        )

    def test_to_twistd(self) -> None:
        """Without a path the line is in the log of twistd, under the access log's own namespace."""
        with capturedLogs() as events:
            log = AccessLog(AccessLogSpec(), Clock())
            log.open()
            log.closed(record(detail="{braces} and % signs"))
            log.close()
        self.assertEqual(
            [(event["log_namespace"], event["line"] + "\n") for event in events],
            [("proxyd.ops.accesslog", text_line(record(detail="{braces} and % signs")))],
        )
