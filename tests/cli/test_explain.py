"""Does ``proxyctl explain`` say what was asked, to people and to programs?"""

from __future__ import annotations

import json

from proxyd.policy.cookie import Sealed
from tests.cli.shell import ShellCase

CONFIG = """
[listener db]
bind = tcp:5432
pool = postgres
[pool postgres]
balance = leastconn
server a = 10.0.0.1:5432 weight=2
server b = 10.0.0.2:5432
server spare = 10.0.0.9:5432 backup
"""
WEB = """
[listener web]
bind = tcp:443
[pool api]
server c = 10.0.1.1:443
[route api]
listener = web
pool = api
sni = api.example.com
"""
HTTP = """
[listener front]
bind = tcp:80
protocol = http
pool = p
[route secure]
listener = front
redirect = 301 http://a.com{uri}
[route v1]
listener = front
path = /v1
method = PUT
header X-A = 1
rewrite = /v1 /api
request_header = set X-Host {host}
pool = p
[route closed]
listener = front
path = /v1
client = 10.0.0.0/8
respond = 403
[pool p]
server a = 10.0.0.1:80
"""


class ExplainTests(ShellCase):
    def explain(self, *arguments: str, text: str = CONFIG) -> tuple[int, str, str]:
        return self.run_it("explain", self.write(text), *arguments)

    def test_text(self) -> None:
        """Each step has its line, and the servers a table."""
        status, out, err = self.explain("listener=db", "client=10.1.2.3", "down=a", "open.b=7")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            "listener      db\n"
            "opening       what the client sends first is not read, since nothing here depends on it\n"
            "pool          postgres, the listener's\n"
            "\n"
            "SERVER  STATE  WEIGHT  OPEN  TIER  ADDRESS        WHY\n"
            "a       down        2     0     -  10.0.0.1:5432  gets nobody: it is down\n"
            "b       up          1     7     1  10.0.0.2:5432  gets clients\n"
            "spare   up          1     0     2  10.0.0.9:5432  waits: it is a backup\n"
            "\n"
            "balance       leastconn\n"
            "chosen        b\n"
            "if it fails   spare; then the client is closed\n",
        )

    def test_words_anywhere(self) -> None:
        """What is supposed may stand behind an option, too; an option that there is not is told."""
        out = self.explain("listener=db", "--seed", "3", "down=a", "--json", "down=b")[2]
        self.assertIn("down is given twice", out)
        status, out, _ = self.explain("--seed", "3", "listener=db", "--json", "down=a")
        self.assertEqual((status, json.loads(out)["chosen"]), (0, "b"))
        status, _, err = self.explain("--seed", "3", "listener=db", "--jsn")
        self.assertEqual(status, 2)
        self.assertIn("unrecognized arguments: --jsn\n", err)

    def test_routes(self) -> None:
        """Routes are told, and what closes a client is."""
        asked = ("listener=web", "sni=api.example.com", "alpn=h2,http/1.1")
        out = self.explain(*asked, text=CONFIG + WEB)[1]
        self.assertIn(
            "opening       it speaks tls (assumed), asks for api.example.com, offers h2, http/1.1\n", out
        )
        self.assertIn(
            "route         api taken, to pool api: all its conditions hold\npool          api\n", out
        )
        self.assertIn("chosen        c\nif it fails   the client is closed\n", out)
        status, out, _ = self.explain("listener=web", "speaks=ssh", text=CONFIG + WEB)
        self.assertEqual(status, 0)
        self.assertIn(
            "route         api not taken: sni = api.example.com, and the client asks for no name\n", out
        )
        self.assertIn("closed        no_route: no route fits, and the listener has no pool\n", out)

    def test_requests(self) -> None:
        """Of a request it is told what it asks, which route it takes, and what is done with it."""
        asked = ("host=a.com", "path=/x/../v1//y?z", "method=PUT", "header.X-A=1", "client=10.1.1.1")
        status, out, err = self.explain(*asked, text=HTTP)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out.partition("pool   ")[0],
            "listener      front\n"
            "opening       it asks a.com for PUT /x/../v1//y?z, which is /v1/y\n"
            "route         secure not taken: it would lead where the request already is\n"
            "route         v1 taken, to pool p: all its conditions hold\n"
            "route         closed not taken: fits, but v1 stands before it\n"
            "action        the server is asked for /api/y?z\n"
            "action        in the request: set X-Host a.com\n",
        )
        self.assertIn("chosen        a\n", out)
        out = self.explain("host=a.com", "path=/v1", "client=10.1.1.1", text=HTTP)[1]
        self.assertIn(
            "route         v1 not taken: method = PUT, and the method is GET; header x-a = 1, and", out
        )
        self.assertIn("route         closed taken: all its conditions hold\n", out)
        self.assertTrue(out.endswith("action        the client is answered 403\n"))
        found = json.loads(self.explain("host=b.com", "--json", text=HTTP)[1])
        self.assertEqual(found["actions"], ["the client is sent to http://a.com/, by 301"])
        out = self.explain("host=a.com", "path=/%2f", text=HTTP)[1]
        self.assertIn(
            "closed        request_malformed: a slash that is escaped in /%2F (RFC 3986 2.2)\n", out
        )

    def test_requests_refused(self) -> None:
        """What is no request, or has none, is told so."""
        for arguments, text, why in [
            (("path=x",), HTTP, "that is no request: target x (RFC 9112 3.2)"),
            (("scheme=ftp",), HTTP, 'scheme: "ftp" is not known; known here: http, https'),
            (("host=a",), CONFIG, "host: listener db does not speak HTTP"),
            (("header.X-A=1",), CONFIG, "header.X-A: listener db does not speak HTTP"),
        ]:
            status, out, err = self.explain(*arguments, text=text)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(why, err)

    def test_files_of_clients(self) -> None:
        """A list that a route goes by is read, and told of if it cannot be."""
        text = HTTP.replace("client = 10.0.0.0/8", "client = file:networks")
        self.assertEqual(self.explain("host=a.com", text=text)[0], 1)
        self.write("10.0.0.0/8\n", "networks")
        out = self.explain("host=a.com", "path=/v1", "client=10.1.1.1", text=text)[1]
        self.assertIn("route         closed taken", out)
        out = self.explain("host=a.com", "path=/v1", "client=192.0.2.1", text=text)[1]
        self.assertIn("route         closed not taken: client = file:", out)

    def test_chance(self) -> None:
        """What is left to chance or to whose turn it is tells how likely it is."""
        self.assertIn("chosen        a this time; of many such clients a 67%, b 33%\n", self.explain()[1])
        by_chance = CONFIG.replace("leastconn", "random")
        drawn = {
            self.explain("--seed", str(seed), text=by_chance)[1].split("chosen")[1][:9] for seed in range(20)
        }
        self.assertEqual(len(drawn), 2)

    def test_by_the_client(self) -> None:
        """What a balancer goes by is told; panic is."""
        out = self.explain("client=[2001:db8::1]:5", text=CONFIG.replace("leastconn", "source"))[1]
        self.assertIn("balance       source, by 6 20010db800000000\n", out)
        out = self.explain("down=a,b", text=CONFIG + "panic_threshold = 50%\nserver z = 10.0.0.3:1\n")[1]
        self.assertIn("panic         fewer are up than panic_threshold, so all get clients\n", out)

    def test_affinity(self) -> None:
        """What clients are remembered by is told, and the server that this one had."""
        text = CONFIG.replace("leastconn", "leastconn\naffinity = source")
        out = self.explain("client=10.1.2.3", text=text)[1]
        self.assertIn("affinity      by source; this client is not remembered\n", out)
        out = self.explain("client=10.1.2.3", "remembered=b", text=text)[1]
        self.assertIn("affinity      by source; this client had b\nchosen        b\n", out)

    def test_json(self) -> None:
        """Programs get the same."""
        status, out, err = self.explain("client=10.1.2.3:5", "draining=b", "weight.a=5", "--json")
        self.assertEqual((status, err), (0, ""))
        found = json.loads(out)
        self.assertEqual(
            (found["chosen"], found["retries"], found["likely"], found["reason"]),
            ("a", ["spare"], {"a": 1.0}, ""),
        )
        self.assertEqual(found["servers"][0]["weight"], 5)
        self.assertEqual(found["servers"][1]["state"], "draining")
        closed = json.loads(self.explain("listener=web", "--json", text=CONFIG + WEB)[1])
        self.assertEqual((closed["reason"], closed["routes"][0]["taken"]), ("no_route", False))

    def test_wrong_arguments(self) -> None:
        """Each wrong argument is named, with what is nearest to it, and exits with 2."""
        for text, arguments, expected in (
            (CONFIG, ("clinet=10.1.2.3",), '"clinet" is not known; did you mean "client"?'),
            (CONFIG, ("down",), "down has no value; write down=..., with no blank around the ="),
            (CONFIG, ("down=a", "down=b"), "down is given twice"),
            (CONFIG, ("down=a", "ejected=a"), 'server "a" cannot be both down and ejected'),
            (
                CONFIG,
                ("down=aa",),
                'pool postgres, where the client is led: "aa" is not known; did you mean "a"?',
            ),
            (
                CONFIG,
                ("client=10.1.2",),
                'client: "10.1.2" is no address; write 10.1.2.3, 10.1.2.3:40312 or [2001:db8::1]:40312',
            ),
            (CONFIG, ("client=10.1.2.3:x",), 'client: "x" is not a whole number, 0 to 65535'),
            (CONFIG, ("weight.a=x",), 'weight.a: "x" is not a whole number, 0 to 256'),
            (CONFIG, ("weigh.a=1",), '"weigh.a" is not known; did you mean "weight.SERVER"?'),
            (CONFIG, ("speaks=tsl",), 'speaks: "tsl" is not known; did you mean "tls"?'),
            (CONFIG, ("listener=dbb",), 'listener: "dbb" is not known; did you mean "db"?'),
            (CONFIG + WEB, (), "there are several listeners; add listener= and one of db, web"),
        ):
            status, out, err = self.explain(*arguments, text=text)
            self.assertEqual((status, out, err), (2, "", f"proxyctl explain: error: {expected}\n"))

    def test_admission(self) -> None:
        """Who may come in is told, also where a file says so; one that cannot be used exits with 1."""
        self.write("10.1.0.0/16\n", "blocked.txt")
        text = CONFIG.replace("pool = postgres", "pool = postgres\ndeny = file:blocked.txt", 1)
        out = self.explain("client=10.1.2.3", text=text)[1]
        self.assertIn("admission     refused\n", out)
        self.assertIn("closed        denied: deny: ", out)
        self.assertIn("admission     let in\nopening ", self.explain("client=10.2.2.3", text=text)[1])
        status, out, err = self.explain(text=text)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("client= is missing; listener db has allow or deny, which go by it", err)
        self.write("10.1.0.0/33\n", "blocked.txt")
        status, out, err = self.explain("client=10.1.2.3", text=text)
        self.assertEqual((status, out, self.local(err).split(" ")[0]), (1, "", "blocked.txt:1:"))

    def test_cookies(self) -> None:
        """A cookie says which server its client had, to who has the secret."""
        secret = b"what nobody else knows"
        self.write(secret, "key")
        text = "[listener l]\nbind = tcp:80\nprotocol = http\npool = web\n"
        text += "[pool web]\naffinity = cookie name=SRV secret=file:key\nserver a = h:1\nserver b = h:2\n"
        value = Sealed(secret, "web").seal("b", b"a nonce.").decode()
        for cookie, had in ((value, "this client had b"), (value[:-1], "this client is not remembered")):
            out = self.explain(f"header.Cookie=x=y; SRV={cookie}", text=text)[1]
            self.assertIn(f"affinity      by cookie; {had}\n", out)
        self.assertIn("chosen        b\n", self.explain(f"header.cookie=SRV={value}", text=text)[1])
        out = self.explain(f"header.cookie=SRV={value}", "draining=b", text=text)[1]
        self.assertIn("chosen        b\n", out)
        self.write(b"short", "key")
        status, out, err = self.explain(f"header.cookie=SRV={value}", text=text)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(self.local(err), "key: is shorter than 16 bytes, and could be guessed\n")

    def test_maintenance(self) -> None:
        """Who is turned away since the pool is in maintenance, also where a file says who is not."""
        self.write("10.1.0.0/16\n", "office.txt")
        lines = "[pool postgres]\nmaintenance = yes\nmaintenance_allow = file:office.txt"
        text = CONFIG.replace("[pool postgres]", lines, 1)
        out = self.explain("client=10.2.2.3", text=text)[1]
        self.assertIn("closed        maintenance: [pool postgres] maintenance: as configured\n", out)
        self.assertNotIn("SERVER", out)
        self.assertIn("chosen ", self.explain("client=10.1.2.3", text=text)[1])

    def test_wrong_configuration(self) -> None:
        """A configuration that cannot be used exits with 1."""
        status, out, err = self.explain(text="[listener db]\n")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("bind: is missing", err)
