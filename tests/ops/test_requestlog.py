"""Does each request leave one line that people and programs can read?"""

from __future__ import annotations

import json
import re

from proxyd.errors import Reason
from proxyd.ops.requestlog import FORMATS, combined_line, json_line, text_line
from tests.ops.records import request
from tests.ops.test_accesslog import AWKWARD, fields
from tests.support.case import Case

COMBINED = re.compile(
    r'(\S+) - (\S+|"(?:[^"\\]|\\.)*") \[([^]]+)\]'
    r' "((?:[^"\\]|\\.)*)" (\d+) (\d+) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"\n'
)


class Lines(Case):
    """A line of each format."""

    def test_text(self) -> None:
        """An ordinary request reads as the documentation shows it."""
        self.assertEqual(
            text_line(request()),
            "2026-11-22T10:00:00.123Z listener=web client=10.0.0.9:40312 method=GET host=example.com"
            " target=/index.html version=1.1 status=200 pool=web server=a address=10.0.0.1:80 via=- route=-"
            " user=- id=- tls=- sni=- alpn=- cn=- cache=- queue=- connect=0.000312 first_byte=0.001204"
            " total=0.001913 in=517 out=20480 encoding=- retries=0 server_tls=- reason=answered fault=nobody"
            " detail=-\n",
        )

    def test_unread(self) -> None:
        """A request that could not be read has dashes."""
        line = text_line(
            request(method=b"", host=b"", target=b"", reason=Reason.REQUEST_MALFORMED, status=400)
        )
        self.assertIn(" method=- host=- target=- version=1.1 status=400 ", line)
        self.assertIn(" reason=request_malformed fault=client ", line)
        self.assertIn('] "-" 400 ', combined_line(request(method=b"", status=400)))

    def test_json(self) -> None:
        """JSON has the names of the record, and the fields that everybody wants."""
        found = json.loads(json_line(request(queue_seconds=0.5)))
        self.assertEqual((found["method"], found["target"], found["status"]), ("GET", "/index.html", 200))
        self.assertEqual((found["referer"], found["queue_seconds"]), ("http://example.com/", 0.5))
        self.assertEqual((found["user_agent"], found["fault"]), ('a "quoted\\ agent\xe4', "nobody"))

    def test_combined(self) -> None:
        """Apache's combined format, with what cannot be trusted escaped as Apache does."""
        self.assertEqual(
            combined_line(request()),
            '10.0.0.9 - - [22/Nov/2026:10:00:00 +0000] "GET /index.html HTTP/1.1" 200 20480'
            ' "http://example.com/" "a \\"quoted\\\\ agent\\xe4"\n',
        )
        self.assertTrue(combined_line(request(client="[2001:db8::1]:5")).startswith("2001:db8::1 - - ["))
        self.assertIn('"-" "-"\n', combined_line(request(fields=())))

    def test_chosen(self) -> None:
        """By what it got its server is told where that is not the usual."""
        self.assertIn(" address=10.0.0.1:80 chosen=hedge via=- ", text_line(request(chosen="hedge")))
        self.assertEqual(text_line(request(chosen="balance")), text_line(request()))
        self.assertEqual(json.loads(json_line(request(chosen="balance")))["chosen"], "balance")

    def test_user(self) -> None:
        """Who has asked is told in each format."""
        record = request(route="inside", user="alice")
        self.assertIn(" route=inside user=alice id=- tls=", text_line(record))
        self.assertEqual(json.loads(json_line(record))["user"], "alice")
        self.assertTrue(combined_line(record).startswith("10.0.0.9 - alice [22/Nov/2026"))

    def test_encoding(self) -> None:
        """What the answer was put in is told, where one looks for its bytes."""
        record = request(encoding="gzip")
        self.assertIn(" out=20480 encoding=gzip ", text_line(record))
        self.assertEqual(json.loads(json_line(record))["encoding"], "gzip")

    def test_tls(self) -> None:
        """What was agreed on in TLS that ended here, and who the client is by its certificate."""
        told = request(
            tls="TLSv1.3/X/resumed", sni="a.example", alpn="http/1.1", client_cn="Jo Doe", server_tls="Y"
        )
        self.assertIn(
            ' tls=TLSv1.3/X/resumed sni=a.example alpn=http/1.1 cn="Jo Doe" cache=- queue=', text_line(told)
        )
        self.assertIn(" retries=0 server_tls=Y reason=", text_line(told))
        found = json.loads(json_line(told))
        for name in ("tls", "sni", "alpn", "client_cn", "server_tls"):
            self.assertEqual(found[name], getattr(told, name))

    def test_awkward(self) -> None:
        """No value breaks a line, or fakes a field."""
        for value in AWKWARD:
            asked = value.encode("utf-8", "surrogatepass")
            each = request(
                target=asked,
                host=asked,
                method=asked or b"X",
                detail=value,
                user=value,
                route=value,
                fields=((b"referer", asked, b"", 0),),
            )
            for name, line in FORMATS.items():
                text = line(each)
                self.assertTrue(text.isascii() and text.endswith("\n") and text.count("\n") == 1, name)
            found = fields(text_line(each))
            self.assertEqual(
                (found["listener"], found["status"], found["reason"]), ("web", "200", "answered")
            )
            self.assertIsNotNone(COMBINED.fullmatch(combined_line(each)))

    def test_times(self) -> None:
        """A time that no calendar has breaks nothing."""
        self.assertIn("[31/Dec/9999:23:59:59 +0000]", combined_line(request(started=1e30)))
