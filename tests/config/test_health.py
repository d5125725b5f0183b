"""Is ``check =`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.address import Addresses, TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.probes import RedisAsk
from proxyd.config.summary import summary
from tests.config.ini import MINIMAL, IniCase

REFUSED = [
    ("radis", '"radis" is not known; did you mean "redis"?'),
    ("tcp role=master", "role is not for tcp; it is a parameter of redis, pgsql"),
    ("redis user=probe", "user needs a password; write password=${PROBE_PASSWORD}, for example"),
    ("redis password=two words", "a word after password is no parameter; quote a value with blanks"),
    ("redis password = word", "password has no value; write password=${PROBE_PASSWORD}, for example"),
    ("redis role=boss", 'role: "boss" is not known; known here: master, replica'),
    ("pgsql dbname=d", "user is missing; write user=probe, for example"),
    ("pgsql user=u expect=1", 'expect needs a query; write query="SELECT 1", for example'),
    ("pgsql user=", "user has no value; write user=probe, for example"),
    ("tls sni=a verify=b", "sni and verify do not go together; verify asks for its name"),
    ("tls ca=/x", "ca means nothing without verify; write verify=www.example.com, for example"),
    ("script send=x", "expects nothing; write expect=PONG, for example"),
    ("ldap user=cn=a", "user needs a password; write password=${PROBE_PASSWORD}, for example"),
    (
        "ldap password=p",
        "password means nothing without a user; write user=cn=probe,dc=example,dc=com, for example",
    ),
    ("command arg=x", "path is missing; write path=/usr/local/bin/probe, for example"),
    ("python probe=C", 'probe: "C" is not the path of a class, such as probes.queue.Length'),
    ("python probe=a.C parameter=hidden", "parameter: is not a name, = and a value"),
    ("tcp port=0", 'port: "0" is not a port; ports are 1 to 65535'),
    (
        "tcp port=81 address=10.0.0.1:81",
        "port and address do not go together; the address has a port of its own",
    ),
    (
        "tcp address=10.0.0.1",
        'address: "10.0.0.1" is not an address; write HOST:PORT, [IPv6]:PORT or unix:PATH',
    ),
    ("tcp port=81 send_proxy", "send_proxy is for a pool with proxy_protocol"),
    ("interval=5s", "begins with the kind of check; write tcp before the parameters"),
    ("tcp interval=5", 'interval: "5" has no unit; for seconds write "5s"'),
    ("tcp timeout=5s", "timeout=5s must be shorter than the interval, 5s if not given"),
    ("tcp interval=1s timeout=1500ms", "timeout=1500ms must be shorter than interval=1s"),
    ("tcp rise=0", 'rise: "0" is not a whole number, 1 to 1000'),
    ("tcp raise=2", '"raise" is not known; did you mean "rise"?'),
    ("tcp fall=2 fall=3", "fall is given twice"),
]


class CheckTests(IniCase):
    def test_defaults(self) -> None:
        """With the kind alone, checks have the defaults that the reference names."""
        self.assertEqual(
            self.load(f"{MINIMAL}check = tcp\n").pools[0].checks, (CheckSpec("tcp", 5, 2, 2, 3),)
        )

    def test_not_asked_for(self) -> None:
        """Without the option there are no checks."""
        self.assertEqual(self.load(MINIMAL).pools[0].checks, ())

    def test_all_given(self) -> None:
        """Each parameter is taken as it is written, in any order and on several lines."""
        text = f"{MINIMAL}check = tcp fall=5 interval=10s\n  timeout=500ms rise=1\n"
        self.assertEqual(self.load(text).pools[0].checks, (CheckSpec("tcp", 10, 0.5, 1, 5),))

    def test_interval_alone(self) -> None:
        """A timeout that is not given is never in the way of the interval: it is at most half of it."""
        for interval, timeout in [("1s", 0.5), ("3s", 1.5), ("4s", 2), ("1m", 2)]:
            (check,) = self.load(f"{MINIMAL}check = tcp interval={interval}\n").pools[0].checks
            self.assertEqual(check.timeout, timeout)

    def test_refused(self) -> None:
        """A check that cannot be made is refused, and a timeout that reaches into the next check."""
        for value, reason in REFUSED:
            self.assertEqual(
                self.problems(f"{MINIMAL}check = {value}\n")[:1], [f"proxy.ini:6: [pool p] check: {reason}"]
            )

    def test_send_proxy(self) -> None:
        """A check where clients are led begins with the header anyway."""
        text = f"{MINIMAL}proxy_protocol = v1\ncheck = tcp port=81 send_proxy\n"
        (check,) = self.load(text).pools[0].checks
        self.assertTrue(check.send_proxy)
        self.assertEqual(
            self.problems(f"{MINIMAL}proxy_protocol = v1\ncheck = tcp send_proxy\n"),
            [
                "proxy.ini:7: [pool p] check: send_proxy is for checks with port or address; "
                "the others begin with the header anyway"
            ],
        )

    def test_elsewhere(self) -> None:
        """A port is one of the server, an address is what it says; a unix socket has no other port."""
        server = TcpAddress("10.0.0.1", 80)
        for words, target in (
            ("", server),
            ("port=81", TcpAddress("10.0.0.1", 81)),
            ("address=[::1]:82", TcpAddress("::1", 82)),
        ):
            (check,) = self.load(f"{MINIMAL}check = tcp {words}\n").pools[0].checks
            self.assertEqual(check.target(server), target)
        server_of_two = Addresses((server, TcpAddress("::1", 80)))
        self.assertEqual(
            CheckSpec(port=81).target(server_of_two),
            Addresses((TcpAddress("10.0.0.1", 81), TcpAddress("::1", 81))),
        )
        self.assertEqual(
            self.problems(f"{MINIMAL}server b = unix:/s\ncheck = tcp port=81\n"),
            ["proxy.ini:7: [pool p] check: port=81 means nothing for server b, which is a unix socket"],
        )

    def test_secrets(self) -> None:
        """A password is in the value, and in nothing that is printed of it."""
        config = self.load(f"{MINIMAL}check = redis user=u password=${{PW}}\n", {"PW": "hunter 2;x"})
        (check,) = config.pools[0].checks
        self.assertEqual(check.ask, RedisAsk("u", "hunter 2;x"))
        self.assertNotIn("hunter", repr(config) + summary(config))
        for wrong in ("redis password=hunter password=hunter", "redis password=" + "hunter" * 200):
            self.assertNotIn("hunter", "".join(self.problems(f"{MINIMAL}check = {wrong}\n")))

    def test_every_fault(self) -> None:
        """Two faults are both named, without false ones that follow from them."""
        self.assertEqual(
            self.problems(f"{MINIMAL}check = tpc interval=x\n  timeout=9s\n"),
            [
                'proxy.ini:6: [pool p] check: "tpc" is not known; did you mean "tcp"?',
                'proxy.ini:6: [pool p] check: interval: "x" is not a duration; '
                "write a whole number and ms, s, m, h or d",
            ],
        )
