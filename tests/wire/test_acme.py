"""Is what an authority says read as it is meant, and is what we say as ACME has it?"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from random import Random
from typing import Any

from proxyd.errors import Malformed
from proxyd.wire import acme
from proxyd.wire.acme import Authorization, Challenge, Complaint, Directory, Order
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import outcome

URL = "https://ca.example/"
TOKEN = "DGyRejmCefe7v4NfDGDKfA"

DIRECTORY = {
    "newNonce": URL + "nonce",
    "newAccount": URL + "account",
    "newOrder": URL + "new",
    "meta": {"termsOfService": URL + "terms", "externalAccountRequired": True},
    "renewalInfo": URL + "window",
    "keyChange": 7,
}
ORDER = {
    "status": "invalid",
    "authorizations": [URL + "1", URL + "2"],
    "finalize": URL + "finalize",
    "error": {
        "type": "urn:ietf:params:acme:error:unauthorized",
        "detail": "it is\nnot yours",
        "subproblems": [{"identifier": {"type": "dns", "value": "b.example"}, "detail": "no answer"}, 7],
    },
}
AUTHORIZATION = {
    "status": "pending",
    "identifier": {"type": "dns", "value": "www.example"},
    "challenges": [
        {"type": "http-01", "url": URL + "http", "token": TOKEN, "error": {"detail": "nobody is there"}},
        {"type": "tls-alpn-01", "url": URL + "tls", "token": TOKEN},
        {"type": "dns-account-01", "url": 7, "token": []},
        "what?",
    ],
}


def read(parse: Any, content: Any) -> Any:
    """What comes of JSON, or what is wrong with it."""
    return outcome(parse, json.dumps(content).encode())


class WordsTests(Case):
    def test_base64url(self) -> None:
        """There and back, without padding, and with it; nothing else is taken."""
        for data in (b"", b"\0", b"\xff\xfe", b"any", bytes(range(256))):
            text = acme.base64url(data)
            self.assertEqual(text.encode(), base64.urlsafe_b64encode(data).rstrip(b"="))
            self.assertEqual(acme.from_base64url(text), data)
            self.assertEqual(acme.from_base64url(base64.urlsafe_b64encode(data).decode()), data)
        for text in ("a", "a b=", "a+b/", "ab=c", "\xe4bcd"):
            self.assertRaises(Malformed, acme.from_base64url, text)

    def test_signed(self) -> None:
        """A request is JWS: head and body in base64url, and the signature of both with a dot between."""
        asked: list[bytes] = []

        def sign(data: bytes) -> bytes:
            asked.append(data)
            return b"signature"

        for payload, body in (({"a": 1}, "eyJhIjoxfQ"), ({}, "e30"), (None, "")):
            found = json.loads(acme.signed({"alg": "none"}, payload, sign))
            head = "eyJhbGciOiJub25lIn0"
            self.assertEqual(found, {"protected": head, "payload": body, "signature": "c2lnbmF0dXJl"})
            self.assertEqual(asked.pop(), f"{head}.{body}".encode())

    def test_external_account(self) -> None:
        """What binds an account to one elsewhere is our public key, signed with the key of that one."""
        bound = acme.bound_to("kid-1", b"secret", URL, {"kty": "EC"})
        expected = hmac.new(b"secret", f"{bound['protected']}.{bound['payload']}".encode(), hashlib.sha256)
        self.assertEqual(bound["signature"], acme.base64url(expected.digest()))
        head = json.loads(acme.from_base64url(bound["protected"]))
        self.assertEqual(head, {"alg": "HS256", "kid": "kid-1", "url": URL})
        self.assertEqual(json.loads(acme.from_base64url(bound["payload"])), {"kty": "EC"})

    def test_thumbprint(self) -> None:
        """The example of RFC 7638, 3.1: whatever the order of a key's parts, it has one thumbprint."""
        n = (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKR"
            "XjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSq"
            "zs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-"
            "G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        )
        jwk = {"kty": "RSA", "n": n, "e": "AQAB"}
        expected = "t.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        self.assertEqual(acme.key_authorization("t", jwk), expected)

    def test_certificate_id(self) -> None:
        """The example of RFC 9773, 4.1; and a number whose first bit is not set has no zero before it."""
        identifier = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
        self.assertEqual(acme.certificate_id(identifier, 0x87654321), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
        self.assertEqual(acme.certificate_id(b"", 0x7F), ".fw")

    def test_retry_after(self) -> None:
        """Seconds, or a date; what is neither says nothing."""
        for text, seconds in (
            ("120", 120.0),
            ("Sun, 09 Sep 2001 01:48:40 GMT", 120.0),
            ("Sun, 09 Sep 2001 01:40:00 GMT", 0.0),
            ("", 0.0),
            ("soon", 0.0),
            ("-5", 0.0),
            ("9" * 100, 999999999.0),
            ("Sun, 99 Sep 99999 99:99:99 GMT", 0.0),
        ):
            self.assertEqual(acme.retry_after(text, 1e9), seconds, text)


class AnswersTests(Case):
    def test_directory(self) -> None:
        """What we go by is kept; an authority need not have all of it."""
        whole = Directory(URL + "nonce", URL + "account", URL + "new", URL + "window", URL + "terms", True)
        self.assertEqual(read(acme.directory, DIRECTORY), whole)
        least = {name: DIRECTORY[name] for name in ("newNonce", "newAccount", "newOrder")}
        self.assertEqual(
            read(acme.directory, {**least, "meta": 7}), Directory(URL + "nonce", URL + "account", URL + "new")
        )

    def test_order(self) -> None:
        """Its state, where to go on, and why nothing comes of it."""
        trouble = "it is not yours; b.example: no answer"
        self.assertEqual(
            read(acme.order, ORDER), Order("invalid", (URL + "1", URL + "2"), URL + "finalize", "", trouble)
        )
        valid = {**ORDER, "status": "valid", "error": None, "certificate": URL + "c"}
        self.assertEqual(
            read(acme.order, valid), Order("valid", (URL + "1", URL + "2"), URL + "finalize", URL + "c")
        )

    def test_authorization(self) -> None:
        """Challenges that we do not know are left out; the first trouble of any is told."""
        self.assertEqual(
            read(acme.authorization, AUTHORIZATION),
            Authorization(
                "www.example",
                "pending",
                (Challenge("http-01", URL + "http", TOKEN), Challenge("tls-alpn-01", URL + "tls", TOKEN)),
                "nobody is there",
            ),
        )

    def test_complaint(self) -> None:
        """Why something is refused: the authority's word for it and its text, or the status alone."""
        kind = "urn:ietf:params:acme:error:rateLimited"
        for content, found in (
            ({"type": kind, "detail": "too many"}, Complaint("rateLimited", "too many")),
            ({"type": kind}, Complaint("rateLimited", kind)),
            ({"type": "about:blank", "title": "Bad"}, Complaint("", "Bad")),
            ({}, Complaint("", "status 503 of HTTP")),
            ([], Complaint("", "status 503 of HTTP")),
        ):
            self.assertEqual(acme.complaint(json.dumps(content).encode(), 503), found)
        self.assertEqual(acme.complaint(b"<html>", 503), Complaint("", "status 503 of HTTP"))
        self.assertEqual(str(Complaint("rateLimited", "too many")), "rateLimited: too many")
        long = acme.complaint(json.dumps({"detail": "x" * 10_000}).encode(), 400)
        self.assertEqual(len(long.text), 300)

    def test_window(self) -> None:
        """From when to when to renew, in any zone of time."""
        for start, end, found in (
            ("2021-01-03T00:00:00Z", "2021-01-07T00:00:00Z", (1609632000.0, 1609977600.0)),
            ("2021-01-03t01:30:00.5+01:30", "2021-01-06T19:00:00-05:00", (1609632000.0, 1609977600.0)),
        ):
            self.assertEqual(
                read(acme.renewal_window, {"suggestedWindow": {"start": start, "end": end}}), found
            )

    def test_malformed(self) -> None:
        """What is not as it must be is refused, with what it is."""
        none, many = "an order without authorizations, or with more than 100", [URL] * 101
        stranger = {**AUTHORIZATION, "challenges": [{"type": "http-01", "token": "../../etc"}]}
        nameless = "an authorization without a name or challenges"
        early = "a suggestedWindow that ends before it begins"
        blank = {**DIRECTORY, "newOrder": "https://a b"}
        backwards = {"start": "2021-01-07T00:00:00Z", "end": "2021-01-03T00:00:00Z"}
        for parse, content, why in (
            (acme.directory, [], "an answer that is no object of JSON"),
            (acme.directory, {}, "newNonce, which is no https URL: None"),
            (
                acme.directory,
                {**DIRECTORY, "newOrder": "http://a"},
                "newOrder, which is no https URL: http://a",
            ),
            (acme.directory, blank, "newOrder, which has letters that no URL has: https://a b"),
            (acme.directory, {**DIRECTORY, "renewalInfo": 7}, "renewalInfo, which is no https URL: 7"),
            (acme.order, {**ORDER, "status": "fine"}, "a status that nobody knows: fine"),
            (acme.order, {**ORDER, "authorizations": []}, none),
            (acme.order, {**ORDER, "authorizations": many}, none),
            (acme.order, {**ORDER, "authorizations": [7]}, "authorizations, which is no https URL: 7"),
            (acme.authorization, {**AUTHORIZATION, "identifier": 7}, nameless),
            (acme.authorization, stranger, "a challenge whose token is none: ../../etc"),
            (acme.renewal_window, {}, "no suggestedWindow"),
            (acme.renewal_window, {"suggestedWindow": backwards}, early),
            (acme.renewal_window, {"suggestedWindow": {"start": "now"}}, "a time that is none: now"),
        ):
            self.assertEqual(read(parse, content), why)
        self.assertEqual(outcome(acme.order, b"\xff"), "an answer that is not JSON")
        self.assertEqual(outcome(acme.order, b"[" * 100_000), "an answer that is not JSON")

    def test_mutations(self) -> None:
        """However an answer is broken, it is read or refused."""
        window = {"suggestedWindow": {"start": "2021-01-03T00:00:00Z", "end": "2021-01-07T00:00:00+01:00"}}
        for parse, content in (
            (acme.directory, DIRECTORY),
            (acme.order, ORDER),
            (acme.authorization, AUTHORIZATION),
            (acme.renewal_window, window),
        ):
            good = json.dumps(content).encode()
            read_or_refused = 0
            for data in mutations(Random(8555), [good], 500):
                read_or_refused += outcome(parse, data) is not None
                acme.complaint(data, 400)
            self.assertEqual(read_or_refused, 500)
