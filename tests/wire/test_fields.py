"""Does nothing run over the end of a TLS message?  The messages themselves have tests of their own."""

from __future__ import annotations

from proxyd.errors import Malformed
from proxyd.wire.fields import Fields, extensions_of
from tests.support.case import Case


class FieldsTests(Case):
    """`Fields`, and the extensions."""

    def test_in_order(self) -> None:
        """Numbers, bytes and vectors are read one after the other, and nothing is left."""
        fields = Fields(b"\x03\x01\x02ab\x00\x02cd", "the message", "Hello")
        self.assertEqual((fields.number(2), fields.vector(1, "name")), (0x0301, b"ab"))
        self.assertTrue(fields.more())
        self.assertEqual(fields.vector(2, "rest", least=2, unit=2), b"cd")
        fields.finish()

    def test_wrong(self) -> None:
        """What is cut short, too long, or left over is malformed, and the message is named."""
        for wrong in (
            lambda: Fields(b"a", "the message", "Hello").take(2),
            lambda: Fields(b"\x05ab", "the message", "Hello").vector(1, "name"),
            lambda: Fields(b"\x02ab", "the message", "Hello").vector(1, "name", most=1),
            lambda: Fields(b"\x03abc", "the message", "Hello").vector(1, "name", unit=2),
            lambda: Fields(b"a", "the message", "Hello").finish(),
            lambda: extensions_of(b"\x00\x01\x00\x05ab", "Hello"),
            lambda: extensions_of(b"\x00\x01\x00\x00" * 2, "Hello"),
        ):
            self.assertIn("Hello: ", str(self.assertRaises(Malformed, wrong)))
