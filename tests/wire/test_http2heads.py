"""Is a head what its bytes say now, however often it was read or said before?"""

from __future__ import annotations

from random import Random
from typing import Sequence

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from proxyd.wire.http2frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Broken
from proxyd.wire.http2heads import REMEMBERED, Packer, Unpacker
from tests.support.case import Case

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
OK = [(b":status", b"200"), (b"x", b"y")]
LONG = bytes(range(0x21, 0x7F)) * 3
NEWEST = b"\xbe"  # of the table


def heads(random: Random) -> list[tuple[bytes, bytes]]:
    """Fields as they come, some of them in each table."""
    names = (b":path", b"accept", b"cookie", b"content-length", b"set-cookie", b"x", b"y-long-name", b"date")
    return [
        (
            random.choice(names),
            random.choice((b"", b"1", b"/", b"some words", b"%d" % random.randrange(99), LONG)),
        )
        for _ in range(random.randrange(1, 9))
    ]


class Read(Case):
    """What `Unpacker` reads."""

    def setUp(self) -> None:
        self.unpacker = Unpacker(10_000)

    def says(self, block: bytes) -> Sequence[Sequence[bytes]]:
        """What these bytes say."""
        return list(self.unpacker.unpack(block))

    def test_same_bytes(self) -> None:
        """The same bytes say something else when the table has changed meanwhile, by whatever."""
        encoder = Encoder()
        for value in (b"a", b"b", b"b", b"c"):
            headers = [*GET, (b"x", value)]
            for _ in range(3):
                self.assertEqual(self.says(encoder.encode(headers)), headers)
        self.assertEqual(self.says(NEWEST), [(b"x", b"c")])
        self.assertEqual(self.says(b"\x40\x01y\x01z"), [(b"y", b"z")])
        self.assertEqual(self.says(NEWEST), [(b"y", b"z")])
        self.assertEqual(self.says(b"\x20"), [])  # it is to be empty
        with self.assertRaises(Broken) as caught:
            self.says(NEWEST)
        self.assertEqual(caught.exception.code, COMPRESSION_ERROR)

    def test_not_in_the_table(self) -> None:
        """What goes into no table is read as often as it comes, and not all of it is remembered."""
        for _ in range(2):
            for number in range(2 * REMEMBERED):
                value = b"%03d" % number
                self.assertEqual(self.says(b"\x82\x00\x01x\x03" + value), [GET[0], (b"x", value)])

    def test_any_head(self) -> None:
        """What another library packs is read, whatever the size of the table, and when that changes."""
        random, encoder = Random(1), Encoder()
        sizes = (0, 40, 200, 4096)
        for number in range(2000):
            if not number % 50:
                encoder.header_table_size = random.choice(sizes)
            headers = heads(random)
            mixed = [
                NeverIndexedHeaderTuple(*header) if random.random() < 0.2 else header for header in headers
            ]
            block = encoder.encode(mixed, huffman=random.random() < 0.5)
            self.assertEqual(self.says(block), headers)

    def test_any_bytes(self) -> None:
        """Bytes that mean nothing are refused, and what the others mean is what another library says."""
        random = Random(2)
        said = refused = 0
        for _ in range(5000):
            self.setUp()
            decoder = Decoder(max_header_list_size=10_000)
            for _ in range(3):
                block = Encoder().encode(heads(random), huffman=random.random() < 0.5)
                for _ in range(random.randrange(3)):
                    place = random.randrange(len(block))
                    block = (
                        block[:place] + bytes([random.randrange(256)]) + block[place + random.randrange(2) :]
                    )
                try:
                    expected = list(decoder.decode(block, raw=True))
                except (HPACKError, IndexError):
                    with self.assertRaises(Broken, msg=str(block)):
                        self.says(block)
                    refused += 1
                    break
                self.assertEqual(self.says(block), expected, block)
                said += 1
        self.assertGreater(min(said, refused), 1000)

    def test_bomb(self) -> None:
        """A few bytes that say too much are refused as often as they come."""
        self.says(b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000)
        for _ in range(2):
            with self.assertRaises(Broken) as caught:
                self.says(NEWEST * 3)
            self.assertEqual(caught.exception.code, ENHANCE_YOUR_CALM)


class Said(Case):
    """What `Packer` says."""

    def test_again(self) -> None:
        """What is said again is said as shortly as the client's table allows, also when that changes."""
        packer, decoder, sizes = Packer(), Decoder(), []
        other = [OK[0], (b"x", b"z")]
        for headers in (OK, OK, OK, other, OK, OK, None, OK, OK):
            if headers is None:
                packer.table_size(0)
                decoder.max_allowed_table_size = 0
                continue
            block = packer.pack(headers)
            self.assertEqual(list(decoder.decode(block, raw=True)), headers)
            sizes.append(len(block))
        self.assertEqual(sizes[1:3], [2, 2])
        self.assertGreater(sizes[-1], 2)

    def test_any_head(self) -> None:
        """Another library reads what is said, whatever the size of the table, and when that changes."""
        random, packer, decoder = Random(3), Packer(), Decoder(max_header_list_size=1 << 20)
        for number in range(3000):
            if not number % 50:
                for size in random.sample((0, 40, 200, 1000, 4096, 1 << 20), random.randrange(1, 4)):
                    packer.table_size(size)
                    decoder.max_allowed_table_size = min(size, 4096)
            headers = heads(random)
            for _ in range(random.randrange(1, 3)):
                self.assertEqual(list(decoder.decode(packer.pack(headers), raw=True)), headers)

    def test_secrets(self) -> None:
        """What is never to be in a table is said whole each time (RFC 7541, 7.1.3)."""
        packer, decoder = Packer(), Decoder()
        headers = [OK[0], (b"set-cookie", b"secret")]
        for _ in range(3):
            found = list(decoder.decode(packer.pack(headers), raw=True))
            self.assertEqual(found, headers)
            self.assertIsInstance(found[1], NeverIndexedHeaderTuple)
