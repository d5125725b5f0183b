"""Is the address of a server taken for what it is?"""

from __future__ import annotations

from typing import Any

from proxyd.config.address import ServerAddress, TcpAddress, UnixAddress
from proxyd.config.reader import Word
from proxyd.config.words import Invalid
from tests.support.case import Case

ADDRESSES = [
    ("10.0.0.1:5432", TcpAddress("10.0.0.1", 5432)),
    ("db.example.com:1", TcpAddress("db.example.com", 1)),
    ("db_1:65535", TcpAddress("db_1", 65535)),
    ("db.example.com.:80", TcpAddress("db.example.com.", 80)),
    ("3com.example:80", TcpAddress("3com.example", 80)),
    ("[::1]:5432", TcpAddress("::1", 5432)),
    ("[2001:DB8:0::1]:5432", TcpAddress("2001:db8::1", 5432)),
    ("[fe80::1%eth0]:53", TcpAddress("fe80::1%eth0", 53)),
    ("unix:/run/db.sock", UnixAddress("/run/db.sock")),
    ("unix:db.sock", UnixAddress("/etc/proxyd/db.sock")),
    ("unix:../db:1=x", UnixAddress("/etc/db:1=x")),
]

REFUSED = [
    ("db", "is not an address; write HOST:PORT, [IPv6]:PORT or unix:PATH"),
    (":80", "is not an address; write HOST:PORT"),
    ("[::1]", "is not an address; write HOST:PORT"),
    ("db:", '"" is not a port; ports are 1 to 65535'),
    ("db:http", '"http" is not a port'),
    ("db:0", '"0" is not a port'),
    ("db:65536", '"65536" is not a port'),
    ("db:٣", "is not a port"),
    ("::1:5432", "an IPv6 address stands in brackets, as in [::1]:5432"),
    ("[10.0.0.1]:80", '"10.0.0.1" is not an IPv6 address'),
    ("[::g]:80", '"::g" is not an IPv6 address'),
    ("10.0.0.256:80", '"10.0.0.256" is not an IPv4 address'),
    ("10.0.1:80", '"10.0.1" is not an IPv4 address'),
    ("tcp:10.0.0.1:80", "write HOST:PORT alone"),
    ("http://web:80", "write HOST:PORT alone"),
    ("a..b:80", '"a..b" is neither an IP address nor the name of a host'),
    ("bücher.example:80", "is neither an IP address nor the name of a host"),
    ("-a:80", "is neither an IP address nor the name of a host"),
    ("a" * 64 + ":80", "is neither an IP address nor the name of a host"),
    ("unix:", "the path of the socket is missing"),
    ("unix:/run/", "the path of the socket is missing"),
    ("unix:/" + "x" * 107, "is 108 bytes long; a unix socket's path has at most 107"),
    ("unix:/" + "é" * 54, "is 109 bytes long"),
]


class ServerAddressTests(Case):
    def read(self, text: str) -> Any:
        return ServerAddress().read(Word(text, "/etc/proxyd/proxy.ini", 1))

    def test_addresses(self) -> None:
        """Host and port, IPv6 in brackets, or a unix path relative to the ini file's folder."""
        for text, address in ADDRESSES:
            self.assertEqual(self.read(text), address)

    def test_longest_unix_path(self) -> None:
        """A unix path may be as long as the kernel takes it: 107 bytes."""
        path = "/" + "x" * 106
        self.assertEqual(self.read("unix:" + path), UnixAddress(path))

    def test_refused(self) -> None:
        """An address that cannot be one is refused, with what would be right."""
        for text, reason in REFUSED:
            self.assertIn(reason, str(self.assertRaises(Invalid, self.read, text)), text)

    def test_shown(self) -> None:
        """An address is shown as it would be written."""
        for text in ("10.0.0.1:5432", "[::1]:5432", "db:1", "unix:/run/db.sock"):
            self.assertEqual(str(self.read(text)), text)
