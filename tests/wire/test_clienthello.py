"""Is a TLS client's wish read as its server will read it?"""

from __future__ import annotations

import ssl
from random import Random
from typing import Iterator, Optional, Union

from attrs import evolve

from proxyd.errors import Malformed
from proxyd.wire import clienthello
from proxyd.wire.clienthello import MAX_LENGTH, MAX_MESSAGE, MAX_RECORDS, ClientHello, parse
from proxyd.wire.fields import MAX_LISTED
from tests.support.case import Case
from tests.support.hello import (
    ALPN,
    ENCRYPTED_CLIENT_HELLO,
    SERVER_NAME,
    SUPPORTED_VERSIONS,
    body,
    fragmented,
    handshake,
    hello,
    host_name,
    in_records,
    offered,
    openssl,
    outer,
    protocols,
    vector,
)
from tests.support.mutations import mutations
from tests.wire.captured import ECH_GREASE, GNUTLS, JAVA

Outcome = Union[ClientHello, str, None]

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304
OFFERS_BOTH = (TLS13, TLS12)
MANY = tuple(f"{number:02}-{'x' * 240}" for number in range(60))

# What a client sends, and what that means: sni, alpn, versions, ech.
REAL = [
    (openssl(), "", (), OFFERS_BOTH, False),
    (openssl("www.example.com"), "www.example.com", (), OFFERS_BOTH, False),
    (
        openssl("WWW.Example.COM", ["h2", "http/1.1"]),
        "www.example.com",
        (b"h2", b"http/1.1"),
        OFFERS_BOTH,
        False,
    ),
    (openssl("a_b.example", ["postgresql"]), "a_b.example", (b"postgresql",), OFFERS_BOTH, False),
    (openssl("old.example", maximum=ssl.TLSVersion.TLSv1_2), "old.example", (), (TLS12,), False),
    (openssl("new.example", minimum=ssl.TLSVersion.TLSv1_3), "new.example", (), (TLS13,), False),
    (openssl("a.example", MANY), "a.example", tuple(name.encode() for name in MANY), OFFERS_BOTH, False),
    (GNUTLS, "localhost", (), (TLS13, TLS12, TLS11, TLS10), False),
    (JAVA, "db.example.com", (b"h2", b"http/1.1"), OFFERS_BOTH, False),
    (ECH_GREASE, "www.example.com", (b"h2", b"http/1.1"), OFFERS_BOTH, True),
]
BUILT = [
    (hello("a.example", [b"h2"]), "a.example", (b"h2",), OFFERS_BOTH, False),
    (hello("a.example."), "a.example", (), OFFERS_BOTH, False),
    (hello("x" * 255), "x" * 255, (), OFFERS_BOTH, False),
    (hello("x"), "x", (), OFFERS_BOTH, False),
    (hello("192.0.2.1"), "192.0.2.1", (), OFFERS_BOTH, False),
    (hello("xn--bcher-kva.example"), "xn--bcher-kva.example", (), OFFERS_BOTH, False),
    (hello(alpn=[b"\x00", b"x" * 255]), "", (b"\x00", b"x" * 255), OFFERS_BOTH, False),
    (hello(alpn=[b"\x1a\x1a", b"h2", b"\x1a\x2a"]), "", (b"h2", b"\x1a\x2a"), OFFERS_BOTH, False),
    (hello(alpn=[b"\xfa\xfa"]), "", (), OFFERS_BOTH, False),
    (hello(versions=(0x7A7A, TLS13, 0x7A7B)), "", (), (TLS13, 0x7A7B), False),
    (hello(versions=(0x0A0A,)), "", (), (), False),
    (hello(versions=()), "", (), (TLS12,), False),
    (hello(extensions=[(0x2A2A, b""), (0xEAEA, b"\x00"), (51, b"?")]), "", (), OFFERS_BOTH, False),
    (
        hello("front.example", extensions=[(ENCRYPTED_CLIENT_HELLO, outer())]),
        "front.example",
        (),
        OFFERS_BOTH,
        True,
    ),
    (
        hello("in.example", extensions=[(ENCRYPTED_CLIENT_HELLO, b"\x01")]),
        "in.example",
        (),
        OFFERS_BOTH,
        False,
    ),
    (in_records(handshake(body(None))), "", (), (TLS12,), False),
    (in_records(handshake(body([], version=TLS10))), "", (), (TLS10,), False),
    (in_records(handshake(body(None, version=0x0300, session_id=b""))), "", (), (0x0300,), False),
]
RIGHT = REAL + BUILT

OUTER = outer()


def with_extensions(*extensions: tuple[int, bytes]) -> bytes:
    return in_records(handshake(body(extensions)))


def named(data: bytes) -> bytes:
    """A hello whose server_name extension holds this."""
    return with_extensions((SERVER_NAME, data))


def speaking(data: bytes) -> bytes:
    """A hello whose ALPN extension holds this."""
    return with_extensions((ALPN, data))


def offering(data: bytes) -> bytes:
    """A hello whose supported_versions extension holds this."""
    return with_extensions((SUPPORTED_VERSIONS, data))


def encrypted(data: bytes) -> bytes:
    """A hello whose encrypted_client_hello extension holds this."""
    return with_extensions((ENCRYPTED_CLIENT_HELLO, data))


def whole(data: bytes) -> bytes:
    """A hello with this instead of all its fields."""
    return in_records(handshake(data))


# What is sent in its place, and what the access log says.
NOT_TLS = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "not TLS: the client speaks http, unencrypted"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not TLS: the client speaks ssh, unencrypted"),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "not TLS: the client speaks postgresql, unencrypted"),
    (b"PROXY TCP4 192.0.2.1", "not TLS: a PROXY header"),
    (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11", "not TLS: a PROXY header"),
    (b"\x80\x2e\x01\x03\x01\x00\x15", "not TLS: a ClientHello of SSLv2"),
    (b"\x80\x2e", "not TLS: the client begins with b'\\x80.'"),
    (b"\x15\x03\x01\x00\x02\x02\x28", "a TLS record of type 21 (alert) before any ClientHello"),
    (b"\x17", "a TLS record of type 23 (application_data) before any ClientHello"),
    (b"\x14\x14", "not TLS: the client begins with b'\\x14\\x14'"),
    (b"\xff" * 1000, "not TLS: the client begins with b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff'"),
    (b"\x16\x02", "a TLS record of version 2.x"),
    (b"\x16\x16\x03", "a TLS record of version 22.x"),
]
BROKEN_RECORDS = [
    (b"\x16\x03\x01\x00\x00", "a TLS handshake record of 0 bytes"),
    (b"\x16\x03\x01\x40\x01", "a TLS handshake record of 16385 bytes"),
    (b"\x16\x03\x01\x00\x05\x02", "a TLS handshake message of type 2"),
    (b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfd", "a ClientHello of 16385 bytes; at most 16384 are read"),
    (b"\x16\x03\x01\x00\x05\x01\xff\xff\xff", "a ClientHello of 16777219 bytes"),
    (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "the message cut short"),
    (b"\x16\x03\x01\x00\x05\x01\x00\x00\x00", "ends within a record that goes on"),
    (
        hello("a.b", records=[20]).replace(b"\x16\x03\x01", b"\x14\x03\x01").replace(b"\x14", b"\x16", 1),
        "type 20 within",
    ),
]
BROKEN_FIELDS = [
    (whole(b"\x03"), "the message cut short"),
    (whole(b"\x02\x00" + body([])[2:]), "version 0x0200"),
    (whole(body(None)[:20]), "the message cut short"),
    (whole(body([], session_id=bytes(33))), "session_id of 33 bytes"),
    (whole(body([], ciphers=b"")), "cipher_suites of 0 bytes"),
    (whole(body([], ciphers=b"\x13\x01\x13")), "cipher_suites of 3 bytes"),
    (whole(body([], compressions=b"")), "compression_methods of 0 bytes"),
    (whole(body(None)[:-2] + b"\x02\x00"), "the message cut short"),
    (whole(body(None) + b"\x00"), "the message cut short"),
    (whole(body([]) + b"\x00"), "more bytes than the message may have"),
    (whole(body(None) + b"\x00\x05" + b"\x00\x17\x00\x00"), "the message cut short"),
    (whole(body(None) + vector(2, b"\x00\x17\x00")), "an extension cut short"),
    (whole(body(None) + vector(2, b"\x00\x17\x00\x01")), "an extension cut short"),
    (whole(body(None) + vector(2, b"\x00\x17\x00\x00\x00")), "an extension cut short"),
    (with_extensions((23, b""), (35, b""), (23, b"")), "extension 23 comes twice"),
    (with_extensions((0x0A0A, b""), (0x0A0A, b"")), "extension 2570 comes twice"),
    (named(b""), "server_name cut short"),
    (named(b"\x00\x00"), "server_name of 0 bytes"),
    (named(vector(2, b"\x01" + vector(2, b"a"))), "server_name is not a host_name"),
    (named(vector(2, (b"\x00" + vector(2, b"a")) * 2)), "more bytes than server_name may have"),
    (named(host_name(b"a") + b"\x00"), "more bytes than server_name may have"),
    (named(host_name(b"a")[:-1]), "server_name cut short"),
    (named(vector(2, b"\x00\x00\x02a")), "server_name cut short"),
    (named(host_name(b"")), "host_name of 0 bytes"),
    (named(host_name(b"x" * 256)), "host_name of 256 bytes"),
    (named(host_name(b".")), "b'.' is not a host name"),
    (named(host_name(b"a..b")), "b'a..b' is not a host name"),
    (named(host_name(b".a")), "b'.a' is not a host name"),
    (named(host_name(b"a.b..")), "b'a.b..' is not a host name"),
    (named(host_name(b"*.a")), "b'*.a' is not a host name"),
    (named(host_name(b"a\x00.b")), "b'a\\x00.b' is not a host name"),
    (named(host_name(b"a\n")), "b'a\\n' is not a host name"),
    (named(host_name(b"a b")), "b'a b' is not a host name"),
    (named(host_name("bücher.example".encode())), "is not a host name"),
    (named(host_name(b"2001:db8::1")), "b'2001:db8::1' is not a host name"),
    (named(host_name(b"\x00" * 255)), "is not a host name"),
    (speaking(b""), "ALPN cut short"),
    (speaking(b"\x00\x00"), "ALPN of 0 bytes"),
    (speaking(protocols(b"h2", b"")), "an ALPN name of 0 bytes"),
    (speaking(protocols(b"h2") + b"\x00"), "more bytes than ALPN may have"),
    (speaking(b"\x00\x03\x03h2"), "ALPN cut short"),
    (offering(b""), "supported_versions cut short"),
    (offering(b"\x00"), "supported_versions of 0 bytes"),
    (offering(b"\x03\x03\x04\x03"), "supported_versions of 3 bytes"),
    (offering(offered(TLS13) + b"\x03"), "more bytes than supported_versions may have"),
    (encrypted(b""), "encrypted_client_hello cut short"),
    (encrypted(b"\x02"), "encrypted_client_hello of type 2"),
    (encrypted(b"\x01\x00"), "more bytes than encrypted_client_hello may have"),
    (encrypted(OUTER[:-1]), "encrypted_client_hello cut short"),
    (encrypted(OUTER + b"\x00"), "more bytes than encrypted_client_hello may have"),
    (encrypted(outer(b"")), "payload of encrypted_client_hello of 0 bytes"),
]
BROKEN = NOT_TLS + BROKEN_RECORDS + BROKEN_FIELDS


def outcome(data: bytes) -> Outcome:
    """What becomes of these bytes: a value, a refusal's text, or None.  Another exception is a failure."""
    try:
        return parse(data)
    except Malformed as error:
        return str(error)


def byte_by_byte(data: bytes) -> tuple[Outcome, int]:
    """The first answer, and after how many bytes it came."""
    for length in range(len(data)):
        answer = outcome(data[:length])
        if answer is not None:
            return answer, length
    return outcome(data), len(data)


def name_for_openssl(data: bytes) -> Optional[str]:
    """The server's name as OpenSSL reads it on the server's side; None where it is refused before that."""
    seen: list[str] = []

    def note(connection: ssl.SSLObject, name: Optional[str], context: ssl.SSLContext) -> int:
        seen.append(name or "")
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR  # that is all we wanted to know

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = note
    arrived = ssl.MemoryBIO()
    arrived.write(data)
    try:
        context.wrap_bio(arrived, ssl.MemoryBIO(), server_side=True).do_handshake()
    except ssl.SSLError:
        pass
    return seen[0] if seen else None


class Meaning(Case):
    """What is read out of a right hello."""

    def test_right(self) -> None:
        """Names, protocols and versions of real and of unusual clients are what they have sent."""
        for data, sni, alpn, versions, ech in RIGHT:
            found = parse(data)
            assert found is not None
            self.assertEqual(
                evolve(found, session_id=b""), ClientHello(sni, alpn, versions, ech, len(data)), data[:100]
            )

    def test_session(self) -> None:
        """The session that a client would resume is in its hello, or none is."""
        for session_id in (b"", b"x", bytes(range(32))):
            found = parse(whole(body([], session_id=session_id)))
            assert found is not None
            self.assertEqual(found.session_id, session_id)

    def test_openssl_agrees(self) -> None:
        """A server with OpenSSL reads the same name: nobody is routed by one and served by another."""
        for data, sni, *_ in REAL:
            self.assertEqual((name_for_openssl(data) or "").lower(), sni)

    def test_what_follows(self) -> None:
        """Early data or another record behind the hello belongs to the server, and changes nothing."""
        for data, *_ in RIGHT:
            for more in (
                b"\x14\x03\x03\x00\x01\x01",
                b"\x17\x03\x03\x00\x20" + bytes(32),
                data,
                b"\xff" * 20_000,
            ):
                self.assertEqual(parse(data + more), parse(data))


class Arrival(Case):
    """Bytes may come in any portions."""

    def test_prefixes(self) -> None:
        """However little of a right hello has come, more is waited for."""
        for data, *_ in RIGHT:
            for length in range(len(data)):
                self.assertIsNone(parse(data[:length]))

    def test_records(self) -> None:
        """A hello means the same in records of every size, as long as they are not too many."""
        for data, *_ in RIGHT:
            length = len(fragmented(data, MAX_MESSAGE)) - 5
            fewest = -(-length // MAX_RECORDS)  # bytes that a record must have, so that they suffice
            for size in range(1, length + 1, 1 if length < 1000 else 97):
                again = fragmented(data, size)
                if size < fewest:
                    self.assertEqual(outcome(again), f"a ClientHello in more than {MAX_RECORDS} records")
                else:
                    value = parse(data)
                    assert value is not None
                    self.assertEqual(parse(again), evolve(value, length=len(again)), size)
                    self.assertEqual(parse(again + b"\x17\x03\x03"), parse(again))
                    self.assertIsNone(parse(again[:-1]))

    def test_uneven_records(self) -> None:
        """Even the message's own header may be cut."""
        for sizes in ((1,), (1, 1, 1, 1, 1), (3, 1), (4,), (5, 100, 2)):
            data = hello("a.example", [b"h2"], records=sizes)
            self.assertEqual(byte_by_byte(data), (parse(data), len(data)))
            expected = ClientHello("a.example", (b"h2",), OFFERS_BOTH, False, len(data), bytes(32))
            self.assertEqual(parse(data), expected)

    def test_read_once(self) -> None:
        """A client that sends one byte at a time has its fields read once, when they are all there."""
        read = []
        truly = clienthello._client_hello

        def note(message: bytes, length: int) -> ClientHello:
            read.append(length)
            return truly(message, length)

        self.patch(clienthello, "_client_hello", note)
        data = fragmented(openssl("a.example", MANY), 1000)
        self.assertEqual(byte_by_byte(data)[1], len(data))
        self.assertEqual(read, [len(data)])


class Refusals(Case):
    """What can never become a ClientHello."""

    def test_broken(self) -> None:
        """Each fault is told in a short line that fits into a log."""
        for data, text in BROKEN:
            said = outcome(data)
            assert isinstance(said, str), (data, text, said)
            self.assertIn(text, said)
            self.assertTrue(said.isprintable(), said)
            self.assertTrue(len(said) <= 100, said)

    def test_cut(self) -> None:
        """A hello that is wrong inside is awaited to its end; byte by byte it is refused all the same."""
        for data, text in BROKEN_FIELDS:
            self.assertEqual(byte_by_byte(data), (outcome(data), len(data)), text)

    def test_early(self) -> None:
        """What is wrong with the records is known with the byte that is wrong, or completes a length."""
        for data, text in BROKEN_RECORDS:
            self.assertEqual(byte_by_byte(data)[0], outcome(data), text)
        for data, text in NOT_TLS:
            answer, length = byte_by_byte(data)
            self.assertIsInstance(answer, str, text)
            self.assertEqual(length, 2 if data[0] == 22 else 1, text)

    def test_names_in_a_label(self) -> None:
        """A host name has letters, digits, hyphens, underscores and dots, and no other character."""
        allowed = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
        for byte in range(256):
            answer = outcome(named(host_name(b"a" + bytes([byte]) + b"a")))
            self.assertEqual(isinstance(answer, ClientHello), byte in allowed, byte)


class Bounds(Case):
    """A client cannot make us keep, or do, more than is decided here."""

    def sized(self, length: int) -> bytes:
        """A message of this length, of which the most is padding."""
        empty = len(handshake(body([(21, b"")])))
        return handshake(body([(21, bytes(length - empty))]))

    def test_longest(self) -> None:
        """The longest message is read, in one record or in many; one byte more is refused at its header."""
        longest = self.sized(MAX_MESSAGE)
        self.assertIsInstance(parse(in_records(longest)), ClientHello)
        data = in_records(longest, [MAX_MESSAGE // MAX_RECORDS] * MAX_RECORDS)
        self.assertEqual(len(data), MAX_LENGTH)
        self.assertIsInstance(parse(data), ClientHello)
        answer, length = byte_by_byte(in_records(self.sized(MAX_MESSAGE + 1), [1000]))
        self.assertEqual((answer, length), ("a ClientHello of 16385 bytes; at most 16384 are read", 9))

    def test_most_records(self) -> None:
        """So many records are read, and one more is not waited for."""
        message = handshake(body([(SERVER_NAME, host_name(b"a"))]))
        most = in_records(message, [1] * (MAX_RECORDS - 1))
        self.assertIsInstance(parse(most), ClientHello)
        answer, length = byte_by_byte(in_records(message, [1] * MAX_RECORDS))
        self.assertEqual(
            (answer, length), (f"a ClientHello in more than {MAX_RECORDS} records", 6 * MAX_RECORDS)
        )

    def test_longest_lists(self) -> None:
        """So many extensions and protocols are read, and a hello with more of them is refused."""
        for count, fits in ((MAX_LISTED, True), (MAX_LISTED + 1, False)):
            many = with_extensions(*((1000 + number, b"") for number in range(count)))
            self.assertEqual(isinstance(outcome(many), ClientHello), fits)
            self.assertEqual(isinstance(outcome(speaking(protocols(*[b"x"] * count))), ClientHello), fits)

    def test_always_decided(self) -> None:
        """Whatever comes, an answer is there when the longest hello would be."""
        for size in (1, 2, 5, 255, 256, 257, 4096, MAX_MESSAGE):
            for said in (0, 1, 500, MAX_MESSAGE - 4, MAX_MESSAGE):
                message = b"\x01" + said.to_bytes(3, "big") + bytes(2 * MAX_LENGTH)
                data = in_records(message, [size] * (2 * MAX_LENGTH // size))[:MAX_LENGTH]
                self.assertIsNotNone(outcome(data), (size, said))


class Broken(Case):
    """Hellos that went wrong on their way, or were made to."""

    def inputs(self, seed: int, count: int) -> Iterator[bytes]:
        seeds = [data for data, *_ in BUILT]  # and no fresh ones, which are different in every run
        seeds += [GNUTLS, JAVA, ECH_GREASE] * 5
        seeds += [fragmented(data, 50) for data in seeds]
        return mutations(Random(seed), seeds, count)

    def test_no_other_end(self) -> None:
        """Each ends in a value, a refusal or a wait, and a value is one that routes can be compared with."""
        ends = set()
        for data in self.inputs(1, 5_000):
            answer = outcome(data)
            ends.add(type(answer))
            if isinstance(answer, str):
                self.assertTrue(len(answer) <= 100 and answer.isprintable(), answer)
            elif answer is not None:
                self.assertTrue(answer.length <= len(data), data)
                self.assertEqual(answer.sni, answer.sni.lower().strip("."))
                self.assertTrue(all(1 <= len(name) <= 255 for name in answer.alpn))
        self.assertEqual(ends, {ClientHello, str, type(None)})

    def test_same_byte_by_byte(self) -> None:
        """The portions in which they come change nothing, except that a refusal may come sooner."""
        for data in self.inputs(2, 250):
            slowly, at_once = byte_by_byte(data)[0], outcome(data)
            if isinstance(at_once, str):
                self.assertIsInstance(slowly, str, data)
            else:
                self.assertEqual(slowly, at_once, data)

    def test_openssl_agrees(self) -> None:
        """No broken hello has one name for us and another one for a server with OpenSSL."""
        compared = 0
        for data in self.inputs(3, 1_500):
            answer = outcome(data)
            if isinstance(answer, ClientHello):
                name = name_for_openssl(data)
                if name is not None:
                    compared += 1
                    self.assertEqual(answer.sni, name.lower().rstrip("."), data)
        self.assertTrue(compared > 100, compared)
