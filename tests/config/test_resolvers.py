"""Are resolv.conf and the hosts file understood as libc understands them?"""

from __future__ import annotations

from proxyd.config.address import TcpAddress
from proxyd.config.resolvers import SystemResolvers, candidates, read_hosts, read_resolv_conf
from tests.support.case import Case

LOCAL = TcpAddress("127.0.0.1", 53)


class ResolvConf(Case):
    def test_read(self) -> None:
        """Name servers, domains to search, and ndots; what is not understood is left out."""
        for text, found in (
            ("", SystemResolvers((LOCAL,))),
            ("nameserver 10.0.0.53\n", SystemResolvers((TcpAddress("10.0.0.53", 53),))),
            ("nameserver ::1 # comment\n;nameserver 1.1.1.1", SystemResolvers((TcpAddress("::1", 53),))),
            ("nameserver\nnameserver dns.example\n", SystemResolvers((LOCAL,))),
            ("nameserver 127.0.0.1\n" * 9, SystemResolvers((LOCAL,) * 3)),
            ("domain a\nsearch b c.\n", SystemResolvers((LOCAL,), ("b", "c"))),
            ("search b c\ndomain a b\n", SystemResolvers((LOCAL,), ("a",))),
            ("search " + "x " * 9, SystemResolvers((LOCAL,), ("x",) * 6)),
            ("options ndots:3 timeout:1\n", SystemResolvers((LOCAL,), dots=3)),
            ("options ndots:99999999999 ndots:x ndots\n", SystemResolvers((LOCAL,), dots=15)),
        ):
            self.assertEqual(read_resolv_conf(text), found, text)

    def test_candidates(self) -> None:
        """Short names are searched first, long ones last, and those with a dot at the end not at all."""
        system = SystemResolvers((), ("a.example", "b.example"), 2)
        for name, names in (
            ("db", ["db.a.example", "db.b.example", "db"]),
            ("db.x", ["db.x.a.example", "db.x.b.example", "db.x"]),
            ("db.x.y", ["db.x.y", "db.x.y.a.example", "db.x.y.b.example"]),
            ("db.", ["db"]),
        ):
            self.assertEqual(candidates(name, system), names)
        self.assertEqual(candidates("db", SystemResolvers(())), ["db"])


class Hosts(Case):
    def test_read(self) -> None:
        """A name has the addresses of all its lines, whatever its case."""
        text = "127.0.0.1 localhost\n::1\tlocalhost ip6 # Db\n10.0.0.1 db DB.example\n10.0.0.1 db\nx db\n"
        text += "#10.0.0.2 db\n"
        for name, addresses in (
            ("localhost", ("127.0.0.1", "::1")),
            ("LOCALHOST.", ("127.0.0.1", "::1")),
            ("db", ("10.0.0.1",)),
            ("db.example", ("10.0.0.1",)),
            ("example", ()),
            ("10.0.0.1", ()),
        ):
            self.assertEqual(read_hosts(text, name), addresses, name)
