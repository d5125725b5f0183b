"""Can every way of balancing be asked for, with what it heeds and with nothing else?"""

from __future__ import annotations

from proxyd.config.balance import BALANCES, BalanceSpec
from tests.config.ini import MINIMAL, POOL, IniCase

GIVEN = [
    ("source prefix6=56", BalanceSpec("source", prefix6=56)),
    ("source prefix4=24 hash_balance_factor=125", BalanceSpec("source", prefix4=24, hash_balance_factor=125)),
    ("hash key=source+port", BalanceSpec("hash", key="source+port")),
    ("maglev key=source prefix4=24", BalanceSpec("maglev", prefix4=24)),
    ("leasttime", BalanceSpec("leasttime")),
    ("leasttime measure=first_byte decay=30s", BalanceSpec("leasttime", measure="first_byte", decay=30.0)),
    ("leasttime measure=rtt", BalanceSpec("leasttime", measure="rtt")),
    ("leastbytes decay=1m", BalanceSpec("leastbytes", decay=60.0)),
]

REFUSED = [
    ("roundrobbin", '"roundrobbin" is not known; did you mean "roundrobin"?'),
    (
        "key=sni hash",
        "begins with the way of balancing; write hash before key=sni, for example",
    ),
    ("roundrobin key=sni", "key belongs to hash and maglev; roundrobin does not heed it"),
    ("source key=sni", "key belongs to hash and maglev; source does not heed it"),
    ("p2c prefix6=56", "prefix6 belongs to source, hash and maglev; p2c does not heed it"),
    ("leastbytes measure=rtt", "measure belongs to leasttime; leastbytes does not heed it"),
    ("hash decay=5s", "decay belongs to leasttime and leastbytes; hash does not heed it"),
    ("hash hash_balance_factor=100", 'hash_balance_factor: "100" is not a whole number, 101 to 10000'),
    ("hash key=cookie", 'key: "cookie" is not known; did you mean "cookie:NAME"?'),
    ("hash key=cookie:", "key: write the name of a cookie in place of nothing"),
    ("hash key=header:NAME", "key: write the name of a header in place of NAME"),
    ("hash key=header:a=b", "key: write the name of a header in place of a=b"),
    ("source prefix4=33", 'prefix4: "33" is not a whole number, 1 to 32'),
    ("hash kye=sni", '"kye" is not known; did you mean "key"?'),
    ("p2c fast", '"fast" is not known; there is none'),
    ("leasttime decay=0s", 'decay: "0s" is too short; it must be more than 0'),
    ("hash key=source key=sni", "key is given twice"),
]

SNI = "[listener l]\nbind = tcp:80\npool = p\n%s" + POOL + "balance = hash key=sni\n%s"


class BalanceTests(IniCase):
    def test_names(self) -> None:
        """Each name that is known can be given, and means itself."""
        for name in BALANCES:
            self.assertEqual(self.load(f"{MINIMAL}balance = {name}\n").pools[0].balance, BalanceSpec(name))

    def test_parameters(self) -> None:
        """What a way of balancing heeds can be given after its name."""
        for text, spec in GIVEN:
            self.assertEqual(self.load(f"{MINIMAL}balance = {text}\n").pools[0].balance, spec)

    def test_refused(self) -> None:
        """What would not be heeded is refused, with whose it is or with the nearest name."""
        for text, reason in REFUSED:
            self.assertEqual(
                self.problems(f"{MINIMAL}balance = {text}\n"), [f"proxy.ini:6: [pool p] balance: {reason}"]
            )

    def test_prefix_of_a_name(self) -> None:
        """A name has no prefix of so many bits."""
        text = SNI % ("tls = passthrough\n", "") + "\n"
        self.assertEqual(
            self.problems(text.replace("key=sni", "key=sni prefix4=24")),
            ["proxy.ini:7: [pool p] balance: prefix4 is of addresses, and key=sni does not go by these"],
        )

    def test_requests(self) -> None:
        """What is in requests is a key where requests are read, and has no prefix of so many bits."""
        text = SNI.replace("key=sni", "key=path") % ("", "")
        self.assertEqual(
            self.problems(text),
            [
                "proxy.ini:6: [pool p] balance: key=path: [listener l] reads no requests; "
                "write protocol = http there"
            ],
        )
        http = text.replace("pool = p\n", "pool = p\nprotocol = http\n", 1)
        keys = {
            "host": "host",
            "path": "path",
            "header:X-Tenant": "header:x-tenant",
            "cookie:User": "cookie:User",
        }
        for written, key in keys.items():
            loaded = self.load(http.replace("key=path", f"key={written}"))
            self.assertEqual(loaded.pools[0].balance.key, key)
        self.assertEqual(
            self.problems(http.replace("key=path", "key=path prefix6=64")),
            ["proxy.ini:7: [pool p] balance: prefix6 is of addresses, and key=path does not go by these"],
        )

    def test_names_that_are_read(self) -> None:
        """The name can be a key where it is read: where only TLS is let in, or a route goes by it."""
        self.assertEqual(self.load(SNI % ("tls = passthrough\n", "")).pools[0].balance.key, "sni")
        route = "[route r]\nlistener = l\npool = p\nalpn = h2\n"
        self.assertEqual(self.load(SNI % ("", route)).pools[0].balance.key, "sni")

    def test_names_that_are_not_read(self) -> None:
        """Where it is not, that is said: all clients would have the same key, which is none."""
        route = "[route r]\nlistener = l\npool = p\nspeaks = ssh\n"
        why = "does not read the name; write tls = passthrough there, or a [route] with sni"
        for rest in ("", route):
            self.assertEqual(
                self.problems(SNI % ("", rest)),
                [f"proxy.ini:6: [pool p] balance: key=sni: [listener l] {why}"],
            )
