"""Does the summary say, in a line each, what an operator has set up?"""

from __future__ import annotations

from proxyd.config.summary import summary
from tests.config.ini import MINIMAL, IniCase


class SummaryTests(IniCase):
    def test_least(self) -> None:
        """The least there can be is a listener and a pool."""
        self.assertEqual(
            summary(self.load(MINIMAL)),
            "listener l: tcp on tcp:80, to pool p\npool p: 1 server, balance p2c, check none",
        )

    def test_pools(self) -> None:
        """By what clients come back, and whether they are turned away."""
        text = MINIMAL.replace("pool = p\n", "pool = p\nprotocol = http\n")
        for line, said in (
            ("affinity = source", "pool p: 1 server, balance p2c, affinity source for 30m, check none"),
            ("affinity = cookie name=SRV", "pool p: 1 server, balance p2c, affinity cookie SRV, check none"),
            ("maintenance = yes", "pool p: 1 server, balance p2c, check none, in maintenance"),
        ):
            self.assertEqual(summary(self.load(f"{text}{line}\n")).split("\n")[-1], said)

    def test_most(self) -> None:
        """Listeners, pools, demo servers, admin socket, metrics and access log."""
        text = (
            "[proxyd]\nadmin = unix:/a.sock\nmetrics = tcp:9901\naccess_log = /a.log format=json\n"
            "[listener l]\nbind = tcp:80\n  unix:/run/a.sock\npool = p\n"
            "[pool p]\nbalance = random\ncheck = tcp interval=2500ms\nserver a = h:1\nserver b = h:2 backup\n"
            "[demo]\nserver a = tcp:81\n"
        )
        self.assertEqual(
            summary(self.load(text)).split("\n"),
            [
                "listener l: tcp on tcp:80 unix:/run/a.sock, to pool p",
                "pool p: 2 servers (1 backup), balance random, check tcp every 2500ms",
                "demo server a: on tcp:81",
                "admin: on unix:/a.sock",
                "metrics: on tcp:9901",
                "access log: /a.log, as json",
            ],
        )

    def test_acme(self) -> None:
        """How each authority looks at us, and for which names."""
        text = (
            "[proxyd]\nstate = state\n[acme le]\ndirectory = https://ca.example/\nagree_to_terms = yes\n"
            "certificate www = www.example a.example\ncertificate b = b.example a.example\nbind = tcp:81\n"
            "[listener t]\nbind = tcp:443\npool = p\ntls = acme:le /c/own\n"
        )
        lines = summary(self.load(text + MINIMAL)).split("\n")
        self.assertIn("acme le: http-01 on tcp:81, for www.example a.example b.example", lines)
        self.assertIn("listener t: tcp on tcp:443, tls by /c/own acme:le, to pool p", lines)

    def test_opening(self) -> None:
        """What clients send first, where it leads them, and what servers are told."""
        networks = " ".join(f"10.{n}.0.0/16" for n in range(8))
        text = (
            "[listener l]\nbind = tcp:443\ntls = passthrough\nproxy_protocol = optional unix 10.0.0.0/8\n"
            f"[listener m]\nbind = tcp:80\npool = p\nproxy_protocol = {networks}\n"
            "[route a]\nlistener = l\npool = p\nsni = a.com *.a.com\nalpn = h2 é\n"
            "[route b]\nlistener = l m\npool = q\nspeaks = tls\n"
            "[pool p]\nserver a = h:1\nproxy_protocol = v2 ssl\n[pool q]\nserver a = h:1\n"
        )
        self.assertEqual(
            summary(self.load(text)).split("\n"),
            [
                "listener l: tcp on tcp:443, tls passthrough, optional PROXY header from 10.0.0.0/8 unix, "
                "closed if no route fits",
                "route a: sni a.com *.a.com, alpn h2 é, to pool p",
                "route b: speaks tls, to pool q",
                f"listener m: tcp on tcp:80, PROXY header from {networks[:71]} and 2 more, "
                "to pool p if no route fits",
                "route b: speaks tls, to pool q",
                "pool p: 1 server, balance p2c, check none, PROXY header v2",
                "pool q: 1 server, balance p2c, check none",
            ],
        )

    def test_tls_to_servers(self) -> None:
        """Which pools speak TLS with their servers, and that some believe anybody."""
        servers = "server a = h:1\nserver b = h:2 backup tls=no\n"
        text = (
            f"[listener l]\nbind = tcp:80\npool = p\n[pool p]\ntls = yes\nserver a = h:1\n"
            f"[listener m]\nbind = tcp:81\npool = q\n[pool q]\ntls = verify=no\n{servers}"
        )
        self.assertEqual(
            summary(self.load(text)).split("\n")[2:],
            [
                "pool p: 1 server over TLS, balance p2c, check none",
                "pool q: 2 servers (1 backup) over TLS but for 1, balance p2c, check none",
                "note: pool q believes anybody to be its servers (tls = verify=no)",
            ],
        )

    def test_requests(self) -> None:
        """Of routes for requests it is told by what they go, and what they do."""
        text = (
            "[listener l]\nbind = tcp:80\nprotocol = http\npool = p\n[pool p]\nserver a = h:1\n"
            "[list office]\nnetworks = 10.0.0.0/8\n"
            "[route a]\nlistener = l\nhost = a.com\nredirect = 301 https://{host}{uri}\n"
            "[route b]\nlistener = l\npath = /v1 /v2\nmethod = GET\nheader X-A = 1\n"
            "client = @office\npool = p\n"
            "[route c]\nlistener = l\npath = /in\nauth = basic file:users\npool = p\n"
            "[route d]\nlistener = l\npath = /at\nforward_auth = http://a/b\npool = p\n"
            "[route e]\nlistener = l\nrespond = 403\n"
        )
        lines = summary(self.load(text)).split("\n")
        self.assertEqual(
            lines[1:6],
            [
                "route a: host a.com, redirect 301 to https://{host}{uri}",
                "route b: path /v1 /v2, method GET, header x-a, client @office, to pool p",
                "route c: path /in, auth basic, to pool p",
                "route d: path /at, forward_auth http://a/b, to pool p",
                "route e: all others, respond 403",
            ],
        )
        self.assertEqual([line for line in lines if line.startswith("note")], [])

    def test_notes(self) -> None:
        """A pool that nobody is led to is pointed out, and one that serves nobody."""
        text = "[pool q]\nserver a = h:1 weight=0\nserver b = h:2\n[pool r]\nserver a = h:1 weight=0\n"
        self.assertEqual(
            summary(self.load(f"{MINIMAL}server b = h:1 weight=0\n{text}")).split("\n")[4:],
            [
                "note: no listener or route uses pool q",
                "note: no listener or route uses pool r",
                "note: pool r refuses every client: all its servers have weight=0",
            ],
        )

    def test_files(self) -> None:
        """With includes the files are named, each once, in the order they were read."""
        self.write("", "b.ini")
        self.write("", "conf.d/a.ini")
        text = summary(self.load(f"{MINIMAL}include = conf.d/*.ini b.ini b.ini\n"))
        first = self.local(text.split("\n")[0])
        self.assertEqual(first, "read: proxy.ini, conf.d/a.ini, b.ini")

    def test_log_of_twistd(self) -> None:
        """Without a file the access log is said to be in twistd's."""
        self.assertTrue(
            summary(self.load(f"{MINIMAL}[proxyd]\naccess_log = twistd\n")).endswith(
                "access log: the log of twistd, as text"
            )
        )
