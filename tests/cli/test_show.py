"""Can people read what the daemon says of itself?"""

from __future__ import annotations

from typing import Any

from proxyd.cli.show import Column, age, table
from tests.cli.daemon import AskingCase
from tests.support.case import Case


def server(**other: Any) -> dict[str, Any]:
    """What the daemon says of a server."""
    row = {
        "for_seconds": 61.5,
        "effective_weight": other.get("weight", 1),
        "pool": "db",
        "name": "a",
        "address": "10.0.0.1:5432",
        "state": "up",
        "health": "up",
        "why": "",
        "weight": 1,
        "open": 0,
        "max_connections": 0,
        "tls_failures": None,
    }
    return {**row, **other}


class ShowTests(AskingCase):
    def show(self, *arguments: str) -> list[str]:
        status, out, err = self.run_it("show", *arguments)
        self.assertEqual((status, err), (0, ""))
        return out.splitlines()

    def test_servers(self) -> None:
        """A line for each server, in columns."""
        rows = [
            server(weight=100, effective_weight=2.5, open=7, max_connections=90),
            server(name="spare", state="down", why="refused the connection"),
            server(name="safe", tls_failures=0),
        ]
        self.answering({"servers": rows})
        self.assertEqual(
            self.show("servers"),
            [
                "SERVER    STATE    FOR   WEIGHT  OPEN  ADDRESS              WHY",
                "db/a      up     1m01s  2.5/100  7/90  10.0.0.1:5432        -",
                "db/spare  down   1m01s        1     0  10.0.0.1:5432        refused the connection",
                "db/safe   up     1m01s        1     0  10.0.0.1:5432 (TLS)  -",
            ],
        )
        self.assertEqual(self.asked, [{"command": "show servers"}])

    def test_draining(self) -> None:
        """A server that drains and fails its checks is told from one that could be enabled."""
        rows = [server(state="draining", health=health) for health in ("up", "down", None)]
        self.answering({"servers": rows})
        states = [
            line.partition("1m01s")[0].split(maxsplit=1)[1].strip() for line in self.show("servers")[1:]
        ]
        self.assertEqual(states, ["draining", "draining (down)", "draining"])

    def test_servers_of_a_pool(self) -> None:
        """One pool may be asked for."""
        self.answering({"servers": []})
        self.show("servers", "--pool", "db")
        self.assertEqual(self.asked, [{"command": "show servers", "pool": "db"}])

    def test_checks(self) -> None:
        """A line for each check, and for each agent."""
        role = {
            "pool": "db", "server": "a", "check": "role", "kind": "pgsql", "address": "10.0.0.1:5432",
            "state": "up", "found": "in recovery", "ago_seconds": 1.2, "took_seconds": 0.0123, "against": 2,
            "needed": 3, "next_in_seconds": 0.76, "rests": None,
        }  # fmt: skip
        slow = {**role, "took_seconds": 2.0, "next_in_seconds": None, "check": "", "kind": "tcp"}
        new = {**role, "found": "", "ago_seconds": None, "took_seconds": None, "against": 0}
        rests = {**role, "rests": "it is in maintenance"}
        agent = {**slow, "kind": "agent", "against": 0, "needed": 0}
        self.answering({"checks": [role, slow, new, rests, {**new, "rests": "its name"}, agent]})
        self.assertEqual(
            self.show("checks", "--pool", "db"),
            [
                "SERVER  CHECK         SAYS  AGAINST  AGO    TOOK  NEXT IN  ADDRESS        FOUND",
                "db/a    role (pgsql)  up        2/3   1s  12.3ms     0.8s  10.0.0.1:5432  in recovery",
                "db/a    tcp           up        2/3   1s      2s      now  10.0.0.1:5432  in recovery",
                "db/a    role (pgsql)  up        0/3    -       -     0.8s  10.0.0.1:5432  -",
                "db/a    role (pgsql)  up        2/3   1s  12.3ms        -  10.0.0.1:5432  "
                "it is in maintenance; before: in recovery",
                "db/a    role (pgsql)  up        0/3    -       -        -  10.0.0.1:5432  its name",
                "db/a    agent         up          -   1s      2s      now  10.0.0.1:5432  in recovery",
            ],
        )
        self.assertEqual(self.asked, [{"command": "show checks", "pool": "db"}])

    def test_changes(self) -> None:
        """A line for each change, of a server or of a pool as a whole."""
        of_a = {"ago_seconds": 3.3, "pool": "db", "server": "a", "what": "is down", "why": "refused"}
        of_db = {**of_a, "ago_seconds": 4000.0, "server": "", "what": "is in maintenance", "why": "by uid 0"}
        self.answering({"changes": [of_a, of_db]})
        self.assertEqual(
            self.show("changes", "--pool", "db", "--limit", "2"),
            [
                "  AGO  SERVER  WHAT               WHY",
                "   3s  db/a    is down            refused",
                "1h06m  db      is in maintenance  by uid 0",
            ],
        )
        self.assertEqual(self.asked, [{"command": "show changes", "pool": "db", "limit": 2}])

    def test_names(self) -> None:
        """A line for each name."""
        row = {
            "name": "db.example",
            "again_in_seconds": 40.2,
            "servers": ["db/a-10.0.0.1", "db/a-10.0.0.2"],
            "addresses": ["10.0.0.1", "10.0.0.2"],
            "trouble": "",
        }
        broken = {**row, "name": "srv:_x._tcp.example", "servers": [], "addresses": [], "trouble": "timeout"}
        self.answering({"names": [row, broken]})
        self.assertEqual(
            self.show("names"),
            [
                "NAME                 AGAIN IN  SERVERS                      ADDRESSES          TROUBLE",
                "db.example                40s  db/a-10.0.0.1 db/a-10.0.0.2  10.0.0.1 10.0.0.2  -",
                "srv:_x._tcp.example       40s  -                            -                  timeout",
            ],
        )

    def test_ocsp(self) -> None:
        """A line for each certificate that an authority is asked of."""
        row = {
            "file": "/c/a.crt",
            "url": "http://ocsp.example/",
            "holds_for_seconds": 86400.0,
            "next_in_seconds": 3600.0,
            "fetched": 3,
            "failed": 1,
            "trouble": "",
        }
        none = {
            **row,
            "url": "",
            "holds_for_seconds": None,
            "next_in_seconds": None,
            "trouble": "names nobody",
        }
        self.answering({"ocsp": [row, none]})
        self.assertEqual(
            self.show("ocsp"),
            [
                "FILE      HOLDS FOR  NEXT IN  FETCHED  FAILED  RESPONDER             TROUBLE",
                "/c/a.crt      1d00h    1h00m        3       1  http://ocsp.example/  -",
                "/c/a.crt          -        -        3       1  -                     names nobody",
            ],
        )

    def test_acme(self) -> None:
        """A line for each certificate from an authority; one that has expired cannot be overlooked."""
        row = {
            "authority": "le",
            "certificate": "www",
            "names": ["www.example", "example.org"],
            "expires_in_seconds": 86400.0 * 80,
            "next_in_seconds": 3600.0,
            "renewed": 2,
            "failed": 7,
            "failures": 0,
            "trouble": "",
        }
        old = {**row, "certificate": "old", "expires_in_seconds": -1.0, "trouble": "nobody there"}
        new = {**row, "certificate": "new", "expires_in_seconds": None}
        self.answering({"acme": [row, old, new]})
        self.assertEqual(
            self.show("acme"),
            [
                "CERTIFICATE   EXPIRES IN  NEXT IN  RENEWED  FAILED  NAMES                    TROUBLE",
                "le/www            80d00h    1h00m        2       7  www.example example.org  -",
                "le/old           EXPIRED    1h00m        2       7  www.example example.org  nobody there",
                "le/new       placeholder    1h00m        2       7  www.example example.org  -",
            ],
        )

    def test_certificates(self) -> None:
        """A line for each certificate that is served, and for each file of which none could be had."""
        row = {
            "listener": "https",
            "files": ["/etc/certs/a.crt", "/etc/certs/a.key"],
            "names": ["a.example", "*.a.example"],
            "key_type": "ECDSA",
            "issuer": "R10",
            "expires_in_seconds": 86400.0 * 80,
            "renewed_in_seconds": None,
            "staple": "until 2026-12-01",
            "trouble": "",
        }
        old = {**row, "files": ["b.pem"], "expires_in_seconds": -1.0, "staple": "", "trouble": "has expired"}
        old["renewed_in_seconds"] = 3600.0
        bad = {
            **dict.fromkeys(row, ""),
            "listener": "https", "files": ["c.crt"], "names": [], "expires_in_seconds": None,
            "renewed_in_seconds": None,
            "trouble": "has no private key",
        }  # fmt: skip
        self.answering({"certificates": [row, old, bad]})
        shown = self.show("certificates")
        self.assertEqual(
            [" ".join(line.split()) for line in shown],
            [
                "LISTENER FILE NAMES KEY ISSUER EXPIRES IN RENEWED IN STAPLE TROUBLE",
                "https /etc/certs/a.crt a.example *.a.example ECDSA R10 80d00h - until 2026-12-01 -",
                "https b.pem a.example *.a.example ECDSA R10 EXPIRED 1h00m - has expired",
                "https c.crt - - - - - - has no private key",
            ],
        )

    def test_pools(self) -> None:
        """A line for each pool, with how many of its servers are in which state."""
        row = {
            "name": "db",
            "balance": "p2c",
            "check": None,
            "open": 3,
            "states": {"up": 2, "down": 1},
        }
        calm = {**row, "panic": False, "waiting": 0, "queue_length": 0, "maintenance": None}
        busy = {**row, "panic": True, "waiting": 5, "queue_length": 90, "maintenance": "by uid 0: disk"}
        self.answering({"pools": [calm, busy]})
        self.assertEqual(
            self.show("pools"),
            [
                "POOL  BALANCE  CHECK  OPEN  QUEUE  SERVERS",
                "db    p2c      none      3      0  2 up, 1 down",
                "db    p2c      none      3   5/90  2 up, 1 down (panic: all get connections); maintenance "
                "by uid 0: disk",
            ],
        )

    def test_listeners(self) -> None:
        """A line for each listener."""
        row = {
            "name": "l",
            "open": 3,
            "binds": ["tcp:1", "tcp:2"],
            "pools": ["db"],
        }
        self.answering({"listeners": [row]})
        self.assertEqual(
            self.show("listeners"),
            ["LISTENER  OPEN  BINDS        POOLS", "l            3  tcp:1 tcp:2  db"],
        )

    def test_connections(self) -> None:
        """A line for each connection; with --tcp the round trips, what was sent again, and the windows."""
        row: dict[str, Any] = {
            "listener": "l",
            "client": "192.0.2.1:4000",
            "pool": "db",
            "server": "a",
            "server_address": "10.0.0.1:80",
            "for_seconds": 61.0,
            "bytes_in": 5,
            "bytes_out": 70,
        }
        known = {"rtt": 0.0412, "retransmits": 3, "mss": 1368, "snd_wnd": 29200, "snd_wscale": 7}
        waiting = {**row, "server": "", "server_address": "", "client_tcp": known, "server_tcp": None}
        older = {"rtt": 0.000312, "retransmits": 0, "mss": 1448}
        self.answering({"connections": [row, waiting, {**row, "client_tcp": None, "server_tcp": older}]})
        self.assertEqual(
            self.show("connections", "--listener", "l", "--limit", "3", "--tcp"),
            [
                "LISTENER  CLIENT          SERVER  ADDRESS        FOR  IN  OUT  TCP",
                "l         192.0.2.1:4000  db/a    10.0.0.1:80  1m01s   5   70  -",
                "l         192.0.2.1:4000  db      -            1m01s   5   70  "
                "client rtt 41.2ms, again 3, mss 1368, window 29200/7",
                "l         192.0.2.1:4000  db/a    10.0.0.1:80  1m01s   5   70  "
                "server rtt 0.312ms, again 0, mss 1448",
            ],
        )
        self.assertEqual(self.asked, [{"command": "show connections", "listener": "l", "limit": 3, "tcp": 1}])

    def test_requests(self) -> None:
        """A line for each request; what a client has said cannot disturb the terminal."""
        row: dict[str, Any] = {
            "listener": "web",
            "client": "192.0.2.1:4000",
            "state": "answer",
            "status": 200,
            "for_seconds": 61.0,
            "route": "",
            "pool": "app",
            "server": "a",
            "bytes_in": 5,
            "bytes_out": 70,
            "method": "GET",
            "host": "a.example",
            "target": "/\x1b[2J",
        }
        head = {**row, "state": "head", "status": 0, "method": "", "host": "", "target": "", "server": ""}
        self.answering({"requests": [row, {**head, "pool": ""}], "more": False})
        self.assertEqual(
            self.show("requests", "--listener", "web", "--older", "10"),
            [
                "LISTENER  CLIENT          STATE         FOR  ROUTE  SERVER  IN  OUT  REQUEST",
                "web       192.0.2.1:4000  answer 200  1m01s  -      app/a    5   70  GET a.example/\\x1b[2J",
                "web       192.0.2.1:4000  head        1m01s  -      -        5   70  -",
            ],
        )
        self.assertEqual(self.asked, [{"command": "show requests", "listener": "web", "older": 10}])

    def test_tables(self) -> None:
        """A line for each table, with how full it is."""
        self.answering({"tables": [{"name": "affinity/db", "kind": "affinity", "entries": 5, "size": 1000}]})
        self.assertEqual(
            self.show("tables"),
            ["TABLE        KIND      ENTRIES  SIZE", "affinity/db  affinity        5  1000"],
        )

    def test_table(self) -> None:
        """A line for each entry, in the columns that the daemon names."""
        columns = ["client", "left_seconds", "server"]
        row = {"client": "10.1.2.3", "left_seconds": 90.5, "server": "a"}
        self.answering({"name": "affinity/db", "columns": columns, "rows": [row]})
        self.assertEqual(
            self.show("table", "affinity/db", "--limit", "5"),
            ["CLIENT     LEFT  SERVER", "10.1.2.3  1m30s  a"],
        )
        self.assertEqual(self.asked, [{"command": "show table", "table": "affinity/db", "limit": 5}])
        self.answering({"name": "affinity/db", "columns": columns, "rows": []})
        self.assertEqual(self.show("table", "affinity/db"), ["CLIENT  LEFT  SERVER"])
        self.answering({"columns": ["client"], "rows": [{"client": "192.0.2.0/24"}]})
        self.assertEqual(self.show("table", "affinity/db", "192.0.2.7"), ["CLIENT", "192.0.2.0/24"])
        self.assertEqual(
            self.asked[-1], {"command": "show table", "table": "affinity/db", "key": "192.0.2.7"}
        )

    def test_info(self) -> None:
        """The daemon in a line."""
        self.answering({"version": "0.1", "pid": 5, "up_seconds": 61.5, "open": 1, "max_connections": 9})
        self.assertEqual(self.show("info"), ["VERSION  PID     UP  OPEN", "0.1        5  1m01s   1/9"])

    def test_usage(self) -> None:
        """What cannot be shown, or not so, is told in a word."""
        for arguments in ((), ("server",), ("pools", "--pool", "p")):
            status, out, err = self.run_it("show", *arguments)
            self.assertEqual((status, out, "usage: proxyctl" in err), (2, "", True))


class TableTests(Case):
    def test_cells(self) -> None:
        """Columns are as wide as they must be; what a server has said cannot speak to the terminal."""
        columns = (Column("TEXT", lambda row: row["t"]), Column("N", lambda row: row["n"], right=True))
        rows = [{"t": "", "n": 1000}, {"t": "é\x1b[2J\n", "n": 1}, {"t": "x" * 300, "n": 0}]
        lines = list(table(columns, rows))
        self.assertEqual({len(line) for line in lines}, {200 + 3 + 2 + 4})
        self.assertEqual(
            [line.split() for line in lines[:3]], [["TEXT", "N"], ["-", "1000"], ["\\xe9\\x1b[2J\\n", "1"]]
        )

    def test_age(self) -> None:
        """Times are told in two units at most."""
        for seconds, text in [
            (-1, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"),
            (86399, "23h59m"), (86400, "1d00h"), (400 * 86400, "400d00h"),
        ]:  # fmt: skip
            self.assertEqual(age(seconds), text)
