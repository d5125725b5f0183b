"""Can an operator write which clients come back, and is it said what cannot be?"""

from __future__ import annotations

from proxyd.config.affinity import AffinitySpec, CookieSpec
from tests.config.ini import LISTENER, MINIMAL, IniCase

OVER_HTTP = MINIMAL.replace("pool = p\n", "pool = p\nprotocol = http\n")


class AffinityTests(IniCase):
    """``affinity =`` and ``affinity_failback =``."""

    def affinity(self, text: str) -> object:
        return self.load(f"{MINIMAL}affinity = {text}\n").pools[0].affinity

    def test_written(self) -> None:
        """Each key with what it heeds; nothing but the key must be given."""
        for text, spec in (
            ("source", AffinitySpec("source", 1800.0, 102400, 32, 64)),
            ("source ttl=8h size=1m prefix4=24 prefix6=56", AffinitySpec("source", 28800.0, 1048576, 24, 56)),
            ("via size=5000", AffinitySpec("via", size=5000)),
            ("rdp_cookie ttl=90s size=10m", AffinitySpec("rdp_cookie", 90.0, 10 * 1024**2)),
        ):
            self.assertEqual(self.affinity(text), spec)
        self.assertIsNone(self.load(MINIMAL).pools[0].affinity)

    def test_refused(self) -> None:
        """What is wrong is named, with what is near."""
        for text, why in (
            ("sorce", '"sorce" is not known; did you mean "source"?'),
            ("ttl=5m source", "begins with what clients are remembered by; write source ttl=5m, for example"),
            ("sni prefix6=56", "prefix6 is of addresses, and sni does not go by these"),
            ("source ttl=0s", 'ttl: "0s" is too short; it must be more than 0'),
            ("source tll=5m", '"tll" is not known; did you mean "ttl"?'),
        ):
            found = self.problems(f"{MINIMAL}affinity = {text}\n")
            self.assertEqual(found[0], f"proxy.ini:6: [pool p] affinity: {why}")
        for size in ("0", "11m", "1g", "k", "-1", "1.5k"):
            (wrong,) = self.problems(f"{MINIMAL}affinity = source size={size}\n")
            self.assertIn(f'size: "{size}" is not a number of entries', wrong)

    def test_cookies(self) -> None:
        """Ours, with what browsers are told of it, and the servers' own."""
        for text, spec in (
            ("cookie name=SRV", AffinitySpec("cookie", cookie=CookieSpec("SRV"))),
            (
                "cookie name=SRV secret='of sixteen letters' path=/app max_age=8h same_site=none secure",
                AffinitySpec(
                    "cookie",
                    cookie=CookieSpec("SRV", "of sixteen letters", "", "/app", 28800, "none", True),
                ),
            ),
            (
                "cookie name=S secret=file:cookie.key max_age=1ms",
                AffinitySpec(
                    "cookie", cookie=CookieSpec("S", secret_path=f"{self.folder}/cookie.key", max_age=1)
                ),
            ),
            (
                "learned_cookie name=JSESSIONID ttl=20m size=1k",
                AffinitySpec("learned_cookie", 1200.0, 1024, cookie=CookieSpec("JSESSIONID")),
            ),
        ):
            found = self.load(f"{OVER_HTTP}affinity = {text}\n").pools[0].affinity
            self.assertEqual(found, spec)
            self.assertNotIn("sixteen", repr(found))

    def test_cookies_refused(self) -> None:
        """What is wrong is named; a secret is not repeated."""
        for text, why in (
            ("cookie", "needs the name of the cookie; write cookie name=SRV, for example"),
            (
                "learned_cookie ttl=5m",
                "needs the name of the cookie; write learned_cookie name=SRV, for example",
            ),
            ("cookie name=a;b", 'name: "a;b" is not the name of a cookie (RFC 6265 4.1.1)'),
            ("cookie name=a path=x", 'path: "x" is not the path of a cookie; it begins with /'),
            ("cookie name=a secret=geheim", "secret: is shorter than 16 letters, and could be guessed"),
            (
                "cookie name=a secret=file:",
                "secret: names no file; write secret=file:/etc/proxyd/cookie.key, for example",
            ),
            ("cookie name=a ttl=5m", "ttl is of clients that we remember, and cookie does not go by these"),
            (
                "learned_cookie name=a secure",
                "secure is of a cookie that we give, and learned_cookie does not go by these",
            ),
            ("source name=a", "name is of cookies, and source does not go by these"),
        ):
            found = self.problems(f"{OVER_HTTP}affinity = {text}\n")
            self.assertEqual(found, [f"proxy.ini:7: [pool p] affinity: {why}"])
        for key in ("cookie", "learned_cookie"):
            (found_one,) = self.problems(f"{MINIMAL}affinity = {key} name=a\n")
            self.assertIn(f"{key}: [listener l] reads no requests; write protocol = http there", found_one)
        (found_one,) = self.problems(f"{OVER_HTTP}affinity = cookie name=a\naffinity_failback = yes\n")
        self.assertIn("a cookie names one server", found_one)

    def test_failback(self) -> None:
        """It is for those who remember, and a TLS session is not led elsewhere."""
        pool = self.load(f"{MINIMAL}affinity = source\naffinity_failback = yes\n").pools[0]
        self.assertTrue(pool.affinity_failback)
        self.assertEqual(
            self.problems(f"{MINIMAL}affinity_failback = yes\n"),
            ["proxy.ini:6: [pool p] affinity_failback: is for a pool with affinity"],
        )
        text = MINIMAL.replace("pool = p\n", "pool = p\ntls = passthrough\n")
        (found,) = self.problems(f"{text}affinity = tls_session\naffinity_failback = yes\n")
        self.assertIn("a TLS session is of one server", found)

    def test_what_is_not_read(self) -> None:
        """A ClientHello must be read for what is in it, and there is no RDP where only TLS is let in."""
        rest = "there, or a [route] with sni"
        for key, what in (("sni", "the name"), ("tls_session", "the session")):
            self.assertEqual(
                self.problems(f"{MINIMAL}affinity = {key}\n"),
                [
                    f"proxy.ini:6: [pool p] affinity: {key}: [listener l] does not read {what}; "
                    f"write tls = passthrough {rest}"
                ],
            )
            route = "[route r]\nlistener = l\npool = p\nsni = *\n"
            self.load(f"{MINIMAL}affinity = {key}\n{route}")
            self.load(MINIMAL.replace("pool = p\n", "pool = p\ntls = passthrough\n") + f"affinity = {key}\n")
        ended = MINIMAL.replace("pool = p\n", "pool = p\ntls = ./certs\n")
        self.load(f"{ended}affinity = sni\n")
        self.assertEqual(
            self.problems(f"{ended}affinity = tls_session\n"),
            [
                "proxy.ini:7: [pool p] affinity: tls_session: [listener l] ends TLS itself, so its sessions "
                "are with us and no server's"
            ],
        )
        self.load(f"{MINIMAL}affinity = rdp_cookie\n")
        text = MINIMAL.replace(LISTENER, f"{LISTENER}tls = passthrough\n")
        self.assertEqual(
            self.problems(f"{text}affinity = rdp_cookie\n"),
            [
                "proxy.ini:7: [pool p] affinity: rdp_cookie: [listener l] lets in only TLS, and there is no "
                "RDP in it"
            ],
        )
