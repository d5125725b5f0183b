"""Are requests of real clients led, changed, bounded and let in as their routes say, to real servers?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any, Optional

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.support.certificate import key_and_certificate
from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import Service, apache, nginx_http
from tests.support.stage import Place, program

# nginx that says what it was asked, and by whom.
SAYS = """
    location / {{
        default_type text/plain;
        set $who "who=$http_x_who user=$http_x_user ua=$http_user_agent";
        return 200 "{name} $request_method $request_uri host=$http_host $who\\n";
    }}
"""


def spellings(path: str, count: int, seed: int = 1) -> list[str]:
    """So many ways in which a path could be written that some server takes for it."""
    dice = Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        letters = []
        for letter in path:
            if letter == "/":
                ways = (
                    "/",
                    "/",
                    "/",
                    "//",
                    "/./",
                    "/public/../",
                    "/%2e/",
                    "/public/%2e%2e/",
                    "/public/x/../../",
                )
                rare = (
                    "/public/..;/",
                    "/;a=b/",
                    "%2f",
                    "\\",
                    "/public/..%2f",
                    "/%2e%2e/",
                    "/public/.%2E/",
                    "%5c",
                )
                letters.append(dice.choice(ways if dice.random() < 0.9 else rare))
            elif dice.random() < 0.1:
                letters.append(f"%{ord(letter):02{dice.choice('xX')}}")
            else:
                letters.append(letter)
        end = dice.choice(("", "", "", "?", "?a=/public/x", ";a", "/.", "/", "%20", "%00", "."))
        found["".join(letters) + end] = None
    return [target for target in found if target.startswith("/")]


class Routing(DaemonCase):
    """A daemon with routes for requests, between curl and servers."""

    async def curl(self, *arguments: Any) -> bytes:
        return await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--path-as-is", "--globoff", *arguments
        )

    async def says(self, name: str, place: Optional[Place] = None) -> Service:
        return await nginx_http(self.stage, SAYS.format(name=name), place=place, name=name)

    async def listen(
        self,
        routes: str,
        *servers: Service,
        front: Optional[Place] = None,
        listener: str = "",
        pool: str = "pool = web",
    ) -> Daemon:
        """A daemon with these routes, before the pools web, which is for the rest, and api."""
        front = front or self.stage.tcp()
        sections = f"[listener web]\nbind = {front.bind}\nprotocol = http\n{listener}\n{pool}\n{routes}\n"
        names = ["web", "api"]
        for name, server in zip(names, servers):
            sections += f"[pool {name}]\nidle_connection_timeout = 1s\nserver a = {server.place}\n"
        return await self.start(sections, front)

    async def status(self, daemon: Daemon, target: str, *arguments: Any) -> str:
        out = await self.curl(
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            *arguments,
            f"http://{daemon.front}{target}",
        )
        return out.decode()

    async def conditions(self, front: Place, place: Optional[Place]) -> None:
        """Lead requests by each condition."""
        web, api = await self.says("web", place), await self.says("api")
        client = "::1" if ":" in front.host else "127.0.0.0/8"
        routes = "".join(
            f"[route r{number}]\nlistener = web\n{condition}\npool = api\n"
            for number, condition in enumerate(
                (
                    "host = api.example.com *.api.example.com",
                    "path = /v1",
                    "path_exact = /exact",
                    r"path_regex = ^/users/[0-9]+$$",
                    "method = PUT PATCH",
                    "header X-Version = 2 ~^3",
                    "query debug = *",
                    "cookie beta = yes",
                    f"client = {client}\nheader X-From = here",
                )
            )
        )
        daemon = await self.listen(routes, web, api, front=front)
        expected = []
        for target, arguments, name in [
            ("/", (), "web"),
            ("/", ("--header", "Host: API.example.com:80"), "api"),
            ("/", ("--header", "Host: x.y.api.example.com"), "api"),
            ("/", ("--header", "Host: example.com"), "web"),
            ("/v1", (), "api"),
            ("/v1/users?x=y", (), "api"),
            ("/v10", (), "web"),
            ("/exact", (), "api"),
            ("/exact/", (), "web"),
            ("/users/17", (), "api"),
            ("/users/17/x", (), "web"),
            ("/", ("--request", "PUT", "--data", "x"), "api"),
            ("/", ("--data", "x"), "web"),
            ("/", ("--header", "X-Version: 2"), "api"),
            ("/", ("--header", "x-version: 3.1"), "api"),
            ("/", ("--header", "X-Version: 1"), "web"),
            ("/?a=b&debug", (), "api"),
            ("/?debugger", (), "web"),
            ("/", ("--cookie", "a=b; beta=yes"), "api"),
            ("/", ("--cookie", "beta=no"), "web"),
            ("/", ("--header", "X-From: here"), "api"),
        ]:
            out = await self.curl(*arguments, f"http://{daemon.front}{target}")
            self.assertEqual(out.split()[0].decode(), name, (target, arguments))
            self.assertEqual(out.split()[2].decode(), target)
            expected.append(name)
        records = await daemon.records(len(expected))
        self.assertEqual([record["pool"] for record in records], expected)
        self.assertEqual(records[1]["route"], "r0")

    async def test_conditions(self) -> None:
        """By host, path, method, header, query, cookie and client."""
        await self.conditions(self.stage.tcp(), None)

    async def test_conditions_ipv6(self) -> None:
        """The same over IPv6 on both sides."""
        await self.conditions(self.stage.tcp6(), self.stage.tcp6())

    async def test_no_way_around(self) -> None:
        """However a path is written, who may not have it does not get it from nginx or from Apache."""
        web = await nginx_http(self.stage, "root files;")
        api = await apache(self.stage)
        for server in (web, api):
            for path in ("secret", "public"):
                (server.folder / "files" / path).mkdir(parents=True, exist_ok=True)
                (server.folder / "files" / path / "x").write_text(path)
        routes = "[route secret]\nlistener = web\npath = /secret\nrespond = 403\n"
        routes += "[route apache]\nlistener = web\nhost = apache\npool = api\n"
        daemon = await self.listen(routes, web, api)
        corpus = [
            "/secret/x", "//secret/x", "/./secret/x", "/public/../secret/x", "/%73ecret/x", "/%2e/secret/x",
            "/public/%2e%2e/secret/x", "/public/.%2e/secret/x", "/public/%2E./secret//x", "/secret;a=b/x",
            "/secret/x;a=b", "/public/..;/secret/x", "/public/..;a=b/secret/x", "/;a/secret/x", "/secret%2fx",
            "/public%2f..%2fsecret/x", "/public/..%2fsecret/x", "/%2fsecret/x", "/public/..%5csecret/x",
            "/public\\..\\secret/x", "/secret%00/x", "/secret/x%00", "/%2e%2e/secret/x", "/../secret/x",
            "/public/../../secret/x", "///public//..//secret//x", "/public/./../secret/./x", "/secret/x%0a",
            "/%c0%afsecret/x", "/public/%252e%252e/secret/x", "/%2573ecret/x", "/secret%20/x", "/secret./x",
            "/public/%c0%ae%c0%ae/secret/x", "/secret%09/x", "/secret/x?", "/secret/x?/public/x", "/SECRET/x",
            "/%u0073ecret/x", "/public/x/..%2f..%2fsecret/x", "/public/x/../../secret/x", "/%5c../secret/x",
        ]  # fmt: skip
        for host in ("nginx", "apache"):
            for target in corpus:
                body = await self.curl("--header", f"Host: {host}", f"http://{daemon.front}{target}")
                self.assertNotEqual(body, b"secret", (host, target))
            for target in ("/public/x", "/public//x", "/secret/../public/x", "/public/%78"):
                body = await self.curl("--header", f"Host: {host}", f"http://{daemon.front}{target}")
                self.assertEqual(body, b"public", (host, target))
        # The servers themselves would have given it, so that the test says something.
        given = await self.curl(f"http://{web.place}/public/%2e%2e/secret/x", f"http://{api.place}//secret/x")
        self.assertEqual(given, b"secretsecret")
        self.assertEqual((await daemon.records(1))[0]["status"], 403)

    async def test_no_way_around_by_chance(self) -> None:
        """The same of a thousand ways of writing it, of which the servers themselves accept some hundred."""
        web = await nginx_http(self.stage, "root files;")
        api = await apache(self.stage)
        for server in (web, api):
            for path, text in (("secret", "TOP SECRET\n"), ("public", "public\n")):
                (server.folder / "files" / path).mkdir(parents=True, exist_ok=True)
                (server.folder / "files" / path / "x").write_text(text)
        routes = "[route secret]\nlistener = web\npath = /secret\nrespond = 403\n"
        routes += "[route apache]\nlistener = web\nhost = apache\npool = api\n"
        daemon = await self.listen(routes, web, api)
        targets = spellings("/secret/x", 500)
        for host, server in (("apache", api), ("nginx", web)):
            given = await self.curl(*(f"http://{server.place}{target}" for target in targets))
            self.assertGreater(given.count(b"TOP SECRET"), 50, host)
            got = await self.curl(
                "--header", f"Host: {host}", *(f"http://{daemon.front}{target}" for target in targets)
            )
            self.assertEqual(got.count(b"TOP SECRET"), 0, host)
        records = await daemon.records(2 * len(targets))
        self.assertGreater(sum(record["status"] == 403 for record in records), 100)

    async def test_answers(self) -> None:
        """Redirects and answers of its own, without a server, and without sending anybody in a circle."""
        sorry = self.stage.folder / "sorry.html"
        sorry.write_text("<p>Sorry.</p>")
        routes = f"""
[route old]
listener = web
host = old.example.com
redirect = 301 http://new.example.com{{uri}}
[route canonical]
listener = web
path = /canonical
redirect = 308 http://www.example.com{{path}}
[route down]
listener = web
path = /down
respond = 503 file:{sorry}
response_header = set Cache-Control max-age=60
[route robots]
listener = web
path_exact = /robots.txt
respond = 200 "User-agent: *"
"""
        daemon = await self.listen(routes, await self.says("web"))
        url = f"http://{daemon.front}"
        follow = ("--location", "--max-redirs", "3", "--connect-to", f"::{daemon.front}")
        out = await self.curl("--header", "Host: old.example.com", "--include", f"{url}/a/b?c=d")
        self.assertIn(b"HTTP/1.1 301 Moved Permanently\r\n", out)
        self.assertIn(b"\r\nLocation: http://new.example.com/a/b?c=d\r\n", out)
        out = await self.curl(*follow, "http://old.example.com/x?y")
        self.assertIn(b"web GET /x?y host=new.example.com", out)
        out = await self.curl(*follow, "http://example.com/canonical/x")
        self.assertIn(b"web GET /canonical/x host=www.example.com", out)
        out = await self.curl("--include", f"{url}/down/x")
        self.assertIn(b"HTTP/1.1 503 Service Unavailable\r\n", out)
        self.assertIn(b"\r\nContent-Type: text/html; charset=utf-8\r\n", out)
        self.assertIn(b"\r\nCache-Control: max-age=60\r\n", out)
        self.assertTrue(out.endswith(b"\r\n\r\n<p>Sorry.</p>"))
        out = await self.curl(f"{url}/robots.txt", "--next", "--silent", "--head", f"{url}/robots.txt")
        self.assertTrue(out.startswith(b"User-agent: *\nHTTP/1.1 200 OK\r\n"))
        self.assertIn(b"Content-Length: 14\r\n", out)

    async def test_changes(self) -> None:
        """The path and the fields that nginx gets, and those that curl gets."""
        routes = """
[route v1]
listener = web
path = /v1
pool = web
rewrite = /v1 /api
request_header = set X-Who {client}
request_header = set Host inner.example.com
request_header = remove User-Agent
response_header = set Strict-Transport-Security "max-age=31536000"
response_header = remove Server
[route users]
listener = web
path_regex = ^/users/
pool = web
rewrite = ~^/users/([0-9]+) /u/\\1/profile
"""
        daemon = await self.listen(routes, await self.says("web"))
        url = f"http://{daemon.front}"
        out = await self.curl("--include", "--header", "X-Who: me", f"{url}/v1/x%20y?z")
        self.assertIn(b"web GET /api/x%20y?z host=inner.example.com who=127.0.0.1 user= ua=\n", out)
        self.assertIn(b"\r\nStrict-Transport-Security: max-age=31536000\r\n", out)
        self.assertNotIn(b"\r\nServer:", out)
        out = await self.curl("--include", f"{url}/users/17?x")
        self.assertIn(b"web GET /u/17/profile?x host=", out)
        self.assertIn(b"\r\nServer: nginx", out)

    async def test_limits(self) -> None:
        """Who sends too much, or comes too often, is told so; the others are served."""
        routes = """
[route api]
listener = web
path = /api
pool = web
request_rate_per_header X-Api-Key = 2/1h
max_body = 1k
"""
        daemon = await self.listen(routes, await self.says("web"))
        large = self.stage.folder / "large"
        large.write_bytes(bytes(2000))
        key = ("--header", "X-Api-Key: one")
        statuses = [await self.status(daemon, "/api", *key) for _ in range(3)]
        self.assertEqual(statuses, ["200", "200", "429"])
        self.assertEqual(await self.status(daemon, "/api", "--header", "X-Api-Key: two"), "200")
        self.assertEqual(await self.status(daemon, "/", *key), "200")
        for how in ((), ("--header", "Transfer-Encoding: chunked")):
            # Without Expect curl sends the body at once, and still reads the answer.
            arguments = ("--header", f"X-Api-Key: {len(how)}", "--header", "Expect:", *how)
            self.assertEqual(
                await self.status(daemon, "/api", "--data-binary", f"@{large}", *arguments), "413"
            )
        reasons = [record["reason"] for record in await daemon.records(7)]
        self.assertEqual(reasons[2], "route_rate")
        self.assertEqual(reasons[-2:], ["body_too_large"] * 2)

    async def test_passwords(self) -> None:
        """Users whom htpasswd has made, and what curl says to a file that changes."""
        users = self.stage.folder / "users"
        htpasswd = program("htpasswd", "apache2-utils")
        await self.stage.check(htpasswd, "-B", "-C", "5", "-b", "-c", users, "alice", "wonder:land")
        await self.stage.check(htpasswd, "-B", "-C", "5", "-b", users, "bob", "builder")
        routes = f"""
[route inside]
listener = web
path = /inside
pool = web
auth = basic file:{users} realm=Ours
request_header = set X-User {{user}}
request_header = remove Authorization
"""
        daemon = await self.listen(routes, await self.says("web"))
        url = f"http://{daemon.front}/inside"
        out = await self.curl("--include", url)
        self.assertIn(b"HTTP/1.1 401 Unauthorized\r\n", out)
        self.assertIn(b'\r\nWWW-Authenticate: Basic realm="Ours", charset="UTF-8"\r\n', out)
        for user in ("alice:wonder:land", "bob:builder", "bob:builder"):
            out = await self.curl("--user", user, "--header", "X-User: root", url)
            self.assertIn(f"user={user.split(':')[0]} ".encode(), out)
        for user in ("alice:builder", "bob:", "eve:builder"):
            self.assertEqual(await self.status(daemon, "/inside", "--user", user), "401")
        self.assertEqual(await self.status(daemon, "/x/../inside/y"), "401")
        await self.stage.check(htpasswd, "-D", users, "bob")

        # The file is looked at every few seconds.
        for _ in range(200):
            if await self.status(daemon, "/inside", "--user", "bob:builder") == "401":
                break
        self.assertEqual(await self.status(daemon, "/inside", "--user", "bob:builder"), "401")
        self.assertEqual(await self.status(daemon, "/inside", "--user", "alice:wonder:land"), "200")
        records = await daemon.records(2)
        self.assertEqual((records[0]["reason"], records[1]["reason"]), ("unauthorized", "answered"))

    async def test_forward_auth(self) -> None:
        """A service decides about each request, says who it is, and where to log in."""
        asked: list[tuple[str, str]] = []
        gone: list[bool] = []

        class Decides(Resource):
            isLeaf = True

            def render_GET(self, request: Any) -> Any:
                if gone:
                    request.transport.abortConnection()
                    return NOT_DONE_YET
                asked.append((request.getHeader("x-forwarded-method"), request.getHeader("x-forwarded-uri")))
                if request.getCookie(b"session") == b"alices":
                    request.setHeader("X-User", "alice")
                    return b"yes"
                request.setResponseCode(302)
                request.setHeader("Location", "http://login.example.com/")
                return b"log in"

        port = self.stage.reactor.listenTCP(0, Site(Decides()), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        routes = f"""
[route inside]
listener = web
path = /inside
pool = web
forward_auth = http://127.0.0.1:{port.getHost().port}/verify copy=X-User timeout=10s
"""
        daemon = await self.listen(routes, await self.says("web"))
        url = f"http://{daemon.front}/inside/x?y"
        out = await self.curl("--include", url)
        self.assertIn(b"HTTP/1.1 302 Found\r\n", out)
        self.assertIn(b"Location: http://login.example.com/\r\n", out.replace(b"location", b"Location"))
        self.assertTrue(out.endswith(b"\r\n\r\nlog in"))
        cookie = ("--cookie", "session=alices", "--header", "X-User: root", "--header", "X_User: root")
        out = await self.curl(*cookie, "--data", "body", url)
        self.assertIn(b"web POST /inside/x?y", out)
        self.assertIn(b"user=alice ", out)
        self.assertEqual(asked, [("GET", "/inside/x?y"), ("POST", "/inside/x?y")])
        gone.append(True)
        self.assertEqual(await self.status(daemon, "/inside", *cookie), "503")
        reasons = [record["reason"] for record in await daemon.records(3)]
        self.assertEqual(reasons, ["unauthorized", "answered", "auth_failed"])

    async def test_tls(self) -> None:
        """Over TLS a route may go by the name in it, and plain requests are sent there, once."""
        pem = self.stage.folder / "web.pem"
        pem.write_bytes(key_and_certificate("www.example.com"))
        plain, front, web = self.stage.tcp(), self.stage.tcp(), await self.says("web")
        sections = f"""
[listener plain]
bind = {plain.bind}
protocol = http
[listener secure]
bind = {front.bind}
protocol = http
tls = {pem}
pool = web
[route secure]
listener = plain secure
redirect = 301 https://{{host}}:{front.port}{{uri}}
[route named]
listener = secure
sni = www.example.com
pool = web
request_header = set X-Who {{scheme}}
[pool web]
idle_connection_timeout = 1s
server a = {web.place}
"""
        daemon = await self.start(sections, front)
        to = ("--connect-to", f"::{plain.host}:", "--cacert", pem, "--location", "--max-redirs", "3")
        out = await self.curl(*to, f"http://www.example.com:{plain.port}/x?y")
        self.assertIn(f"web GET /x?y host=www.example.com:{front.port} who=https".encode(), out)
        first, second = await daemon.records(2)
        self.assertEqual((first["status"], first["route"]), (301, "secure"))
        self.assertEqual((second["status"], second["route"]), (200, "named"))

    async def test_explained(self) -> None:
        """`proxyctl explain` says of a request what the daemon then does with it."""
        routes = "[route v1]\nlistener = web\npath = /v1\npool = api\nrewrite = /v1 /\n"
        web, api = await self.says("web"), await self.says("api")
        daemon = await self.listen(routes, web, api)
        config = daemon.folder / "proxy.ini"
        proxyctl = Path(sys.executable).with_name("proxyctl")
        out = await self.stage.check(proxyctl, "explain", config, "host=a", "path=/x/../v1//y?z", "--json")
        found = json.loads(out)
        self.assertEqual((found["pool"], found["actions"]), ("api", ["the server is asked for /y?z"]))
        out = await self.curl(f"http://{daemon.front}/x/../v1//y?z")
        self.assertIn(b"api GET /y?z ", out)
