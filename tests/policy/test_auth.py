"""Are credentials read as RFC 7617 has them, and remembered for as long as they may be?"""

from __future__ import annotations

from base64 import b64encode

from proxyd.policy.auth import REMEMBERED_SECONDS, Remembered, credentials
from tests.support.case import Case


class CredentialsTests(Case):
    def test_read(self) -> None:
        """A name and a password, which may be empty and may have colons in it."""
        for text, found in [
            (b"alice:secret", (b"alice", b"secret")),
            (b"alice:", (b"alice", b"")),
            (b"alice:a:b c", (b"alice", b"a:b c")),
            ("élise:pässword".encode(), ("élise".encode(), "pässword".encode())),
        ]:
            token = b64encode(text).decode()
            for scheme in ("Basic", "basic", "BASIC"):
                self.assertEqual(credentials(f"{scheme} {token}"), found)

    def test_none(self) -> None:
        """What is no pair of both is nobody's."""
        for value in (
            "", "Basic", "Basic ", "Basic !!!!", "Basic YWxpY2U", "Bearer YTpi", "Basic YTpi YTpi",
        ):  # fmt: skip
            self.assertIs(credentials(value), None, value)
        for text in (b"alice", b":secret", b"a b:c", b"a:\0", b"a\n:b"):
            self.assertIs(credentials(f"Basic {b64encode(text).decode()}"), None, text)


class RememberedTests(Case):
    def test_until(self) -> None:
        """A password is remembered for five minutes, and then forgotten."""
        for later, there in [
            (0.0, True),
            (REMEMBERED_SECONDS - 1, True),
            (REMEMBERED_SECONDS, False),
        ]:
            known = Remembered(b"secret")
            known.add(b"alice", b"a", 1000.0)
            self.assertEqual(known.has(b"alice", b"a", 1000.0 + later), there)
            self.assertEqual(len(known), int(there))

    def test_others(self) -> None:
        """Nobody else's, and no other one of the same user, is."""
        known = Remembered(b"secret")
        known.add(b"alice", b"a", 0.0)
        for user, password in [(b"alice", b"b"), (b"bob", b"a"), (b"alice", b""), (b"alice:", b"a")]:
            self.assertFalse(known.has(user, password, 1.0))

    def test_bound(self) -> None:
        """So many are remembered at most; the oldest makes room."""
        known = Remembered(b"secret", most=2)
        for user in (b"a", b"b", b"c"):
            known.add(user, b"x", 0.0)
        self.assertEqual([known.has(user, b"x", 1.0) for user in (b"a", b"b", b"c")], [False, True, True])
        known.clear()
        self.assertEqual(len(known), 0)
