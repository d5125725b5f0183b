"""Do the sections fit together, and are all problems of all files reported at once, in order?"""

from __future__ import annotations

import random

from proxyd.config import load
from proxyd.config.document import Config
from proxyd.errors import ConfigError
from tests.config.ini import LISTENER, MINIMAL, POOL, IniCase


class SectionTests(IniCase):
    def test_unknown_kind(self) -> None:
        """A kind of section that is not known is answered with the nearest that is."""
        self.assertEqual(
            self.problems(f"{MINIMAL}[polo x]\nserver = 1\n"),
            ['proxy.ini:6: [polo x] "polo" is not known; did you mean "pool"?'],
        )

    def test_names(self) -> None:
        """Listeners and pools need a name that can be written in metrics; the other sections have none."""
        for header, problem in [
            ("[pool]", "[pool] needs a name; write [pool NAME]"),
            ("[proxyd x]", "[proxyd x] has no name; write [proxyd]"),
            ("[pool a/b]", '[pool a/b] "a/b" is not a name; names are letters, digits, and any of _ . -'),
        ]:
            self.assertEqual(self.problems(f"{MINIMAL}{header}\n"), [f"proxy.ini:6: {problem}"])

    def test_given_twice(self) -> None:
        """A section that is given twice is refused with the place of the first, also across files."""
        self.write(POOL, "more.ini")
        more = f"{self.folder}/more.ini"
        error = self.assertRaises(ConfigError, load, self.write(f"{MINIMAL}{POOL}include = more.ini\n"), {})
        place = f"is given twice; the first is in {self.folder}/proxy.ini:4"
        self.assertEqual(
            [str(problem) for problem in error.problems],
            [f"{self.folder}/proxy.ini:6: [pool p] {place}", f"{more}:1: [pool p] {place}"],
        )

    def test_a_listener_and_a_pool_may_share_a_name(self) -> None:
        """Names are told apart by the kind of their section."""
        config = self.load(MINIMAL.replace("listener l", "listener p"))
        self.assertEqual((config.listeners[0].name, config.pools[0].name), ("p", "p"))

    def test_no_listener(self) -> None:
        """A configuration without a listener is refused: the daemon would do nothing."""
        self.assertEqual(
            self.problems(POOL), ["proxy.ini: has no [listener NAME] section, so there is nothing to do"]
        )
        self.assertEqual(len(self.problems("")), 1)

    def test_unknown_pool(self) -> None:
        """A listener that leads nowhere is refused, with the nearest pool there is."""
        for pools, end in [
            ("[pool postgres]\nserver a = h:1\n", 'did you mean "postgres"?'),
            ("[pool web]\nserver a = h:1\n", "known here: web"),
            ("", "there is none"),
        ]:
            self.assertEqual(
                self.problems(f"[listener l]\nbind = tcp:80\npool =\n  postgers\n{pools}"),
                [f'proxy.ini:4: [listener l] pool: "postgers" is not known; {end}'],
            )

    def test_many_wrong_names(self) -> None:
        """In a file full of wrong names only the first are answered with a guess, so it is judged at once."""
        pools = "".join(f"[pool p{n}]\nserver a = h:1\n" for n in range(40))
        lost = "".join(f"[listener l{n}]\nbind = tcp:0\npool = p{n}x\n" for n in range(40))
        wrong = "".join(f"[pol{n}]\n[pool q{n}]\nserver a = h:1\nserverr = h:1\n" for n in range(40))
        for text in (pools + lost, wrong):
            problems = self.problems(text)
            self.assertGreaterEqual(len(problems), 40)
            self.assertEqual(sum("did you mean" in problem for problem in problems), 20)

    def test_pool_with_a_fault_is_still_there(self) -> None:
        """A pool with a mistake in it does not make a second one of the listener that names it."""
        self.assertEqual(len(self.problems(f"{LISTENER}[pool p]\nserver a = x\n")), 1)

    def test_no_false_alarm_after_what_could_not_be_read(self) -> None:
        """What is missing may stand in the file or line that could not be read."""
        self.assertEqual(len(self.problems(f"{LISTENER}include = pools.ini\n")), 1)
        self.assertEqual(len(self.problems(f"{LISTENER}[pool p\nserver a = h:1\n")), 1)
        self.assertEqual(len(self.problems(b"\xff")), 1)

    def test_a_pool_that_nobody_uses(self) -> None:
        """A pool that no listener names is no error; it may be there for later."""
        self.assertEqual(len(self.load(f"{MINIMAL}[pool spare]\nserver a = h:1\n").pools), 2)


class BindTests(IniCase):
    def twice(self, one: str, other: str) -> None:
        text = f"[listener a]\nbind = {one}\npool = p\n[listener b]\nbind =\n  {other}\npool = p\n{POOL}"
        self.assertEqual(
            self.problems(text),
            [f'proxy.ini:6: [listener b] bind: "{other}" is bound twice; the first is in proxy.ini:2'],
        )

    def test_the_same_place(self) -> None:
        """No two listeners can have one address, however it is written."""
        self.twice("tcp:80", "tcp:80:interface=0.0.0.0:backlog=9")
        self.twice("tcp6:80", "tcp:80:interface=[0:0::0]")
        self.twice("unix:/run/a:mode=600", "unix:/run/../run/a")
        self.twice("systemd:name=a", "systemd:domain=UNIX:name=a")
        self.twice("fd:3", "fd:3")
        self.twice("ssl:443", "ssl:443")

    def overlap(self, one: str, other: str) -> None:
        text = f"[listener a]\nbind = {one}\npool = p\n[listener b]\nbind =\n  {other}\npool = p\n{POOL}"
        self.assertEqual(
            self.problems(text),
            [
                f'proxy.ini:6: [listener b] bind: "{other}" and "{one}" in proxy.ini:2 cannot both be had; '
                "one of them is every address of the port"
            ],
        )

    def test_every_address_and_one(self) -> None:
        """Every address of a port leaves none for another listener, whichever of them is written first."""
        self.overlap("tcp:80", "tcp:80:interface=127.0.0.1")
        self.overlap("tcp:80:interface=127.0.0.1", "tcp:80")
        self.overlap("tcp6:80", "tcp:80:interface=[::1]")
        self.overlap("tcp6:80:interface=[::1]", "tcp6:80")

    def test_overlaps_of_several(self) -> None:
        """Each address too many is named once, also those of the metrics and the demo servers."""
        text = (
            f"[listener l]\nbind = tcp:80:interface=10.0.0.1 tcp:80:interface=10.0.0.2\n  tcp:80 tcp:81\n"
            f"pool = p\n{POOL}[proxyd]\nmetrics = tcp:80:interface=10.0.0.3\n"
            "[demo]\nserver a = tcp:81:interface=127.0.0.1\nserver b = tcp6:81\n"
        )
        ends = [problem.partition('"')[2].partition(" cannot")[0] for problem in self.problems(text)]
        self.assertEqual(
            ends,
            [
                'tcp:80" and "tcp:80:interface=10.0.0.1" in proxy.ini:2',
                'tcp:80:interface=10.0.0.3" and "tcp:80" in proxy.ini:3',
                'tcp:81:interface=127.0.0.1" and "tcp:81" in proxy.ini:3',
            ],
        )

    def test_within_one_listener(self) -> None:
        """One address is not given twice to one listener either."""
        self.assertEqual(len(self.problems(f"[listener l]\nbind = tcp:80 tcp:80\npool = p\n{POOL}")), 1)

    def test_different_places(self) -> None:
        """Another port, family, address or kind is another place; port 0 is always a new one."""
        binds = "tcp:80 tcp:81 tcp6:80 tcp:82:interface=127.0.0.1 tcp:82:interface=127.0.0.2 tcp:0 tcp:0"
        others = "unix:/a unix:/b fd:3 fd:4 systemd:index=0 systemd:index=1 systemd:name=a ssl:1 ssl:2"
        config = self.load(f"[listener l]\nbind = {binds} {others}\npool = p\n{POOL}")
        self.assertEqual(len(config.listeners[0].binds), 16)

    def test_the_daemons_own(self) -> None:
        """Admin, metrics and demo servers listen too, and so cannot be where a listener is."""
        text = (
            f"{MINIMAL.replace('tcp:80', 'tcp:80 unix:a.sock')}"
            "[proxyd]\nmetrics = tcp:80\nadmin = unix:a.sock\n[demo]\nserver a = tcp:80\nserver b = tcp:81\n"
        )
        self.assertEqual(
            self.problems(text),
            [
                'proxy.ini:7: [proxyd] metrics: "tcp:80" is bound twice; the first is in proxy.ini:2',
                'proxy.ini:8: [proxyd] admin: "unix:a.sock" is bound twice; the first is in proxy.ini:2',
                'proxy.ini:10: [demo] server a: "tcp:80" is bound twice; the first is in proxy.ini:2',
            ],
        )


class OrderTests(IniCase):
    def test_all_files_at_once(self) -> None:
        """Every problem of every file is reported, file by file and line by line."""
        self.write("x = 1\n[pool q]\nserver a = h:x\n", "a.ini")
        self.write("[pool r]\nbalance = p2\n", "b.ini")
        self.assertEqual(
            [problem.split(" ")[0] for problem in self.problems(
                "[listener l]\nbind = x\npool = p q\ninclude = a.ini no.ini b.ini\n[polo]\n"
            )],
            ["proxy.ini:2:", "proxy.ini:3:", "proxy.ini:4:", "proxy.ini:5:", "a.ini:1:", "a.ini:3:",
             "b.ini:1:", "b.ini:2:"],
        )  # fmt: skip

    def test_files(self) -> None:
        """The configuration knows the files it came from."""
        self.write(POOL, "p.ini")
        files = self.load(f"{LISTENER}include = p.ini\n").files
        self.assertEqual([self.local(path) for path in files], ["proxy.ini", "p.ini"])

    def test_variables(self) -> None:
        """A variable of the environment can stand in any value."""
        config = self.load(MINIMAL.replace("10.0.0.1", "${DB}"), {"DB": "db"})
        self.assertEqual(str(config.pools[0].servers[0].address), "db:80")


EVERYTHING = """\
; everything there is
[proxyd]
access_log = "a b.log" format=json
metrics = tcp:9901:interface=127.0.0.1
drain_timeout = 1m
max_connections = 100
idle_timeout = 1h
include = more*.ini none.d/*.ini

[listener web]
bind = tcp:8080:interface=[::1]
       unix:web.sock:mode=660 ; note
       systemd:name=x
pool = web
abort_on_close = yes
proxy_protocol = optional 10.0.0.0/8
                 fd00::/8 unix
opening_timeout = 500ms

[route api]
listener = web
sni = api.example.com *.api.example.com *
alpn = h2 "http/1.1"
speaks = tls
pool = more

[pool web]
balance = random
check = tcp interval=5s timeout=2s rise=2 fall=3
server a = ${HOST}:80 weight=3
server b = [2001:db8::1]:80 backup
connect_timeout = 500ms
retries = 0
proxy_protocol = v2 crc32c ssl

[demo]
server a = tcp:18081
"""
LETTERS = "=[]{}$\\'\";# \t\n:/.*,-_0159azAZ\0\r\ufeffé\u2028\udc80"


class MutationTests(IniCase):
    def mutate(self, text: str, chance: random.Random) -> str:
        """The text with one to five small accidents."""
        for _ in range(chance.randint(1, 5)):
            start = chance.randrange(len(text) + 1)
            end = min(len(text), start + chance.choice((0, 0, 1, 1, 2, 8, 30)))
            other = chance.randrange(len(text) + 1)
            copied = text[other : other + chance.randint(1, 40)]
            new = chance.choice(("", "", chance.choice(LETTERS), chance.choice(LETTERS), copied))
            text = text[:start] + new + text[end:]
        return text

    def test_accidents(self) -> None:
        """Whatever happens to a file, the answer is a configuration or a list of problems."""
        self.write("[pool more]\nserver a = h:1\n", "more.ini")
        self.assertIsInstance(self.load(EVERYTHING, {"HOST": "h"}), Config)
        whole = broken = 0
        for seed in range(1500):
            text = self.mutate(EVERYTHING, random.Random(seed))
            path = self.write(text.encode("utf-8", "surrogateescape"))
            try:
                load(path, {"HOST": "h"})
                whole += 1
            except ConfigError as error:
                self.assertTrue(error.problems)
                self.assertTrue(all(str(problem).isprintable() for problem in error.problems), seed)
                broken += 1
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
        self.assertGreater(min(whole, broken), 50)
