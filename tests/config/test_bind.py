"""Does a bind string mean what it means to Twisted, and is it judged before anything is started?"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from proxyd.config.address import EndpointBind, FdBind, SystemdBind, TcpBind, UnixBind
from proxyd.config.bind import BindForm, Binds
from proxyd.config.reader import Word
from proxyd.config.tls import NamedFiles, TlsSpec
from proxyd.config.words import Invalid
from tests.support.case import Case

TCP = [
    ("tcp:8080", "0.0.0.0", 8080, 511),
    ("tcp:0", "0.0.0.0", 0, 511),
    ("tcp:port=8080", "0.0.0.0", 8080, 511),
    ("tcp:8080:interface=127.0.0.1", "127.0.0.1", 8080, 511),
    ("tcp:8080:127.0.0.1:64", "127.0.0.1", 8080, 64),
    ("tcp:backlog=64:port=8080", "0.0.0.0", 8080, 64),
    ("tcp:8080:interface=[::1]", "::1", 8080, 511),
    (r"tcp:8080:interface=\:\:1", "::1", 8080, 511),
    ("tcp:8080:interface=", "0.0.0.0", 8080, 511),
    ("tcp6:8080", "::", 8080, 511),
    ("tcp6:8080:64", "::", 8080, 64),
    ("tcp6:8080:interface=[::1]:backlog=9", "::1", 8080, 9),
]


def ssl(named: NamedFiles) -> TcpBind:
    return TcpBind("", "0.0.0.0", 443, 511, TlsSpec(named=named))


OTHERS: list[tuple[str, Any]] = [
    ("unix:/run/a.sock", UnixBind("", "/run/a.sock", 0o666, 511)),
    ("unix:/run/a.sock:mode=660", UnixBind("", "/run/a.sock", 0o660, 511)),
    ("unix:address=/run/a.sock:mode=0600:backlog=5", UnixBind("", "/run/a.sock", 0o600, 5)),
    ("unix:a.sock", UnixBind("", "/etc/proxyd/a.sock")),
    (r"unix:/run/a\:b\=c.sock", UnixBind("", "/run/a:b=c.sock")),
    ("fd:3", FdBind("", 3)),
    ("systemd:domain=INET:index=0", SystemdBind("", 0)),
    ("systemd:INET6:1", SystemdBind("", 1)),
    ("systemd:name=web", SystemdBind("", None, "web")),
    ("systemd:domain=UNIX:name=web", SystemdBind("", None, "web")),
    ("onion:80", EndpointBind("")),
    ("ssl:443", ssl(NamedFiles("/etc/proxyd/server.pem", "/etc/proxyd/server.pem"))),
    ("ssl:443:privateKey=k.pem", ssl(NamedFiles("/etc/proxyd/k.pem", "/etc/proxyd/k.pem"))),
    (
        "ssl:443:/k.pem:/c.pem:SSLv23_METHOD:127.0.0.1:5:/x.pem:/dh.pem",
        TcpBind(
            "",
            "127.0.0.1",
            443,
            5,
            TlsSpec(named=NamedFiles("/k.pem", "/c.pem", "/x.pem"), dhparam="/dh.pem"),
        ),
    ),
    (
        "ssl:443:privateKey=/k:certKey=/c:sslmethod=TLSv1_2_METHOD:interface=[::1]",
        TcpBind("", "::1", 443, 511, TlsSpec(named=NamedFiles("/k", "/c"), maximum="1.2")),
    ),
    ("tls:443:certificates=certs", TcpBind("", "0.0.0.0", 443, 511, TlsSpec(("/etc/proxyd/certs",)))),
    (
        "tls:443:/certs:interface=127.0.0.1:backlog=5:alpn=h2,http/1.1:minimum=1.3",
        TcpBind("", "127.0.0.1", 443, 5, TlsSpec(("/certs",), alpn=(b"h2", b"http/1.1"), minimum="1.3")),
    ),
]

REFUSED = [
    ("stdio:", '"stdio:": is not a place where clients connect'),
    (
        "haproxy:tcp\\:80",
        "bind to the address without haproxy:, and list who may send a header with proxy_protocol =",
    ),
    ("8080", "is not an address to listen on; write tcp:8080"),
    ("tcp", "is not an address to listen on"),
    (":8080", "is not an address to listen on"),
    ("*:8080", "is not an address to listen on"),
    ("0.0.0.0:8080", "is not an address to listen on"),
    ("[::]:8080", "is not an address to listen on"),
    ("localhost:8080", "is not an address to listen on"),
    ("/run/a.sock", "is not an address to listen on"),
    ("tpc:8080", '"tpc" is not known; did you mean "tcp"?'),
    ("TCP:8080", "is not an address to listen on"),
    ("tcp:", '"tcp:": has no port'),
    ("tcp:http", '"http" is not a port; ports are 0 to 65535'),
    ("tcp:65536", '"65536" is not a port'),
    ("tcp:80:interface=localhost", '"localhost" is not an IP address'),
    ("tcp:80:interface=::1", "an IPv6 address stands in brackets, as in [::1]"),
    ("tcp:80:interfaces=::1", '"interfaces" is not known; did you mean "interface"?'),
    ("tcp:80:port=81", "has port twice"),
    ("tcp:80:::1", "an IPv6 address stands in brackets, as in [::1]"),
    ("tcp:80:interface=[::1", "has a [ that is not closed"),
    ("tcp:80:backlog=0", "backlog is a whole number, 1 to 65535"),
    ("tcp:80:backlog=many", "backlog is a whole number"),
    ("tcp:80\\", "ends with a backslash"),
    ("tcp6:80:interface=127.0.0.1", '"127.0.0.1" is not an IPv6 address'),
    ("unix:", "the path of the socket is missing"),
    ("unix:/run/a:mode=999", '"999" is not a file mode; write mode=660'),
    ("unix:/run/a:mode=rw", "is not a file mode"),
    ("unix:/" + "x" * 107, "a unix socket's path has at most 107"),
    ("fd:", "has no fd"),
    ("fd:-1", "fd is a whole number"),
    ("systemd:domain=INET", "needs either index=N or name=NAME"),
    ("systemd:index=0:name=web", "needs either index=N or name=NAME"),
    ("systemd:domain=INTE:index=0", 'domain: "INTE" is not known; did you mean "INET"?'),
    ("systemd:index=x", "index is a whole number"),
    ("ssl:", "has no port"),
    ("ssl:443:key=k.pem", '"key" is not known'),
    (
        "ssl:443:sslmethod=TLSv1_METHOD",
        '"TLSv1_METHOD" is a version that nobody may speak any more',
    ),
    ("ssl:443:sslmethod=TLSv1_2", 'sslmethod: "TLSv1_2" is not known; did you mean "TLSv1_2_METHOD"?'),
    ("tls:443", "has no certificates"),
    ("tls:/etc/certs:tcp:443", "begins with its port; write tls:443:certificates=/etc/proxyd/certs"),
    ("tls:443:certificates=/c:alpn=h2,h2", "has a protocol twice"),
    ("tls:443:certificates=/c:client=required", "client=required needs client_ca=FILE"),
    ("tls:443:certificates=/c:minimun=1.2", '"minimun" is not known; did you mean "minimum"?'),
]


class BindTests(Case):
    def read(self, text: str) -> Any:
        return BindForm().read(Word(text, "/etc/proxyd/proxy.ini", 1))

    def test_tcp(self) -> None:
        """Ports with their interface and backlog, by place or by name, as in Twisted."""
        for text, host, port, backlog in TCP:
            self.assertEqual(self.read(text), TcpBind(text, host, port, backlog))

    def test_twisted_agrees(self) -> None:
        """What we take for a TCP port is the same to Twisted, except for brackets and the default backlog."""
        for text, host, port, backlog in TCP:
            if "[" in text:
                continue
            reactor = MemoryReactor()
            endpoint = serverFromString(reactor, text)
            endpoint.listen(Factory())
            theirs = reactor.tcpServers[0]
            self.assertEqual((theirs[0], theirs[3] or "0.0.0.0"), (port, host))
            if backlog != 511:
                self.assertEqual(theirs[2], backlog)

    def test_other_kinds(self) -> None:
        """Unix paths are relative to the ini file; a kind that is not ours is left to Twisted."""
        for text, bind in OTHERS:
            self.assertEqual(self.read(text), attrs.evolve(bind, text=text))

    def test_refused(self) -> None:
        """A bind string that cannot work is refused, with what would be right."""
        for text, reason in REFUSED:
            self.assertIn(reason, str(self.assertRaises(Invalid, self.read, text)), text)

    def test_several(self) -> None:
        """Each word is an address; every wrong one is named, at its own line."""
        faults: list[int] = []
        words = [Word(text, "", line) for line, text in enumerate(("tcp:1", "x", "tcp:2", "y"), 5)]
        Binds().parse(words, lambda line, why: faults.append(line))
        self.assertEqual(faults, [6, 8])
