"""Does a chunked body end where its sender meant it to, and nowhere else?"""

from __future__ import annotations

from random import Random
from typing import Union

from proxyd.wire.chunked import LONGEST_LINE, TRAILER_BYTES, TRAILERS, Chunks, chunk, last
from proxyd.wire.httpfields import Unacceptable
from tests.support.case import Case
from tests.support.mutations import mutations

GOOD: tuple[tuple[str, bytes, bytes, list[bytes], bytes], ...] = (
    # section of RFC 9112, what comes, what is in it, the trailers, what is behind
    ("7.1", b"0\r\n\r\n", b"", [], b""),
    ("7.1", b"5\r\nabcde\r\n0\r\n\r\n", b"abcde", [], b""),
    ("7.1", b"5\r\nabcde\r\n0\r\n\r\nGET / HTTP/1.1\r\n", b"abcde", [], b"GET / HTTP/1.1\r\n"),
    ("7.1", b"A\r\n0123456789\r\nf\r\n" + b"x" * 15 + b"\r\n000\r\n\r\n", b"0123456789" + b"x" * 15, [], b""),
    ("7.1", b"0005\r\nab\r\ne\r\n0\r\n\r\n", b"ab\r\ne", [], b""),
    (
        "7.1.1",
        b'5;a;b=c ; d="e;\\"\r"\r\nabcde\r\n'.replace(b'\r"', b'"') + b"0;x\r\n\r\n",
        b"abcde",
        [],
        b"",
    ),
    ("7.1.2", b"1\r\na\r\n0\r\nX:  y \r\nZ: \r\n\r\nrest", b"a", [b"X: y\r\n", b"Z: \r\n"], b"rest"),
)

BAD = (
    ("9112 7.1", b"\r\n"),
    ("9112 7.1", b"x\r\n"),
    ("9112 7.1", b"-1\r\n"),
    ("9112 7.1", b"+1\r\n"),
    ("9112 7.1", b"0x1\r\n"),
    ("9112 7.1", b" 1\r\n"),
    ("9112 7.1", b"1 \r\n"),
    ("9112 7.1", b"1_0\r\n"),
    ("9112 7.1", b"1" * 16 + b"\r\n"),
    ("9112 7.1", b"1\n"),
    ("9112 7.1", b"1\r\r\n"),
    ("9112 7.1", b"1;\r\n"),
    ("9112 7.1", b'1;a="b\r\n'),
    ("9112 7.1", b"1\r\nab\r\n"),
    ("9112 7.1", b"1\r\na\n"),
    ("9112 7.1", b"1\r\na\rb"),
    ("9112 7.1.1", b"1;" + b"a" * LONGEST_LINE),
    ("9112 5.1", b"0\r\nX : y\r\n\r\n"),
    ("9112 5.2", b"0\r\nX: y\r\n z\r\n\r\n"),
    ("9110 6.5.1", b"0\r\nContent-Length: 5\r\n\r\n"),
    ("9110 6.5.1", b"0\r\ntransfer_encoding: chunked\r\n\r\n"),
    ("6585 5", b"0\r\n" + b"X: y\r\n" * (TRAILERS + 1) + b"\r\n"),
    ("6585 5", b"0\r\nX: " + b"y" * TRAILER_BYTES),
)


def result(pieces: list[bytes]) -> Union[str, tuple[bytes, list[bytes], bytes, bool]]:
    """What comes of feeding these; of an error, which one."""
    chunks, found, rest = Chunks(), b"", b""
    try:
        for piece in pieces:
            if chunks.done:
                rest += piece
            else:
                found += chunks.feed(piece)
                rest = chunks.rest
    except Unacceptable as wrong:
        return str(wrong)
    return found, [field[2] for field in chunks.trailers], rest, chunks.done


def cut(random: Random, data: bytes) -> list[bytes]:
    """The same in pieces."""
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(6)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]


class Decoding(Case):
    """A chunked body is taken apart."""

    def test_good(self) -> None:
        """Sizes, extensions, trailers, and what comes behind the end."""
        for section, data, found, trailers, rest in GOOD:
            self.assertEqual(result([data]), (found, trailers, rest, True), section)

    def test_bad(self) -> None:
        """What is wrong is told with the section that forbids it."""
        for section, data in BAD:
            wrong = self.assertRaises(Unacceptable, Chunks().feed, data)
            self.assertEqual(wrong.section, section, data)

    def test_bounds_are_reached(self) -> None:
        """What is just not too long is taken."""
        line = b"1;" + b"a" * (LONGEST_LINE - 2)
        data = line + b"\r\na\r\n0\r\n" + b"X: y\r\n" * TRAILERS + b"\r\n"
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            self.assertEqual(result(pieces), (b"a", [b"X: y\r\n"] * TRAILERS, b"", True))

    def test_pieces(self) -> None:
        """However the bytes are cut, right or wrong, the outcome is the same."""
        random = Random(1)
        seeds = [data for _, data, *_ in GOOD] + [data for _, data in BAD if len(data) < 500]
        for data in (*seeds, *mutations(random, seeds, 3000)):
            whole = result([data])
            self.assertEqual(result([data[at : at + 1] for at in range(len(data))]), whole, data)
            self.assertEqual(result(cut(random, data)), whole, data)

    def test_no_end(self) -> None:
        """A body that stops in the midst is not done, wherever that is."""
        data = b"5\r\nabcde\r\n0\r\nX: y\r\n\r\n"
        for end in range(len(data)):
            chunks = Chunks()
            chunks.feed(data[:end])
            self.assertFalse(chunks.done, end)


class Encoding(Case):
    """A chunked body is put together."""

    def test_round(self) -> None:
        """What is put together is taken apart to the same."""
        chunks = Chunks()
        chunks.feed(b"0\r\nX:  y\r\n\r\n")
        data = chunk(b"abc") + chunk(b"\r\n" * 300) + last(chunks.trailers)
        self.assertEqual(result([data]), (b"abc" + b"\r\n" * 300, [b"X: y\r\n"], b"", True))
