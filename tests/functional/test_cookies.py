"""Do browsers, that keep their cookies, come back to the servers that they had?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from tests.functional.test_termination import ROOT, TerminationCase
from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.services import Service, gunicorn, nginx_http
from tests.support.stage import PYTHONPATH, program

SAYS = 'location / {{ default_type text/plain; return 200 "{name} [$http_cookie]\\n"; }}'

TAKES = "\nbalance = roundrobin\nidle_connection_timeout = 1s\n"


class Browsers(DaemonCase):
    """curl with a cookie jar, before real servers."""

    async def browse(self, daemon: Daemon, who: str, path: str = "/", *arguments: Any) -> str:
        """What a browser that is called so gets."""
        jar = self.stage.folder / f"jar-{who}"
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--cookie", jar, "--cookie-jar", jar,
            *arguments, f"http://{daemon.front}{path}",
        )  # fmt: skip
        return out.decode()

    async def ctl(self, daemon: Daemon, *arguments: str) -> None:
        await self.stage.check(
            sys.executable, "-m", "proxyd.cli", *arguments,
            environment={"PYTHONPATH": PYTHONPATH, "PROXYD_ADMIN": str(daemon.folder / "admin.sock")},
        )  # fmt: skip

    async def servers(self, names: str = "abc") -> list[Service]:
        return [await nginx_http(self.stage, SAYS.format(name=name), name=name) for name in names]

    async def test_our_cookie(self) -> None:
        """It leads its browser to its server, also when that is drained, and in the next process."""
        servers = await self.servers()
        (self.stage.folder / "cookie.key").write_text("what nobody else knows\n")
        daemon = await self.relay(
            *(server.place for server in servers),
            listener="protocol = http",
            proxyd="admin = unix:admin.sock",
            pool=f"affinity = cookie name=SRV secret=file:{self.stage.folder}/cookie.key{TAKES}",
        )
        first = {who: await self.browse(daemon, who) for who in "uvwxyz"}
        self.assertEqual([*first.values()], [f"{name} []\n" for name in "abcabc"])
        jar = (self.stage.folder / "jar-u").read_text()
        self.assertRegex(jar, r"#HttpOnly_[0-9.]+\tFALSE\t/\tFALSE\t0\tSRV\t[A-Za-z0-9_-]{43}\n")
        for who, said in first.items():
            self.assertEqual(await self.browse(daemon, who, "/", "--cookie", "SRV=forged"), said, who)
            self.assertEqual(await self.browse(daemon, who), said)
        await self.ctl(daemon, "drain", "servers/b")
        self.assertEqual(await self.browse(daemon, "v"), "b []\n")
        self.assertNotIn("b", [(await self.browse(daemon, f"new-{who}"))[0] for who in range(6)])
        await daemon.stop()
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", daemon.folder / "proxy.ini")
        await child.says(rb"proxyd [^:]+: \d+ listener")
        daemon = self._tended(Daemon(self.stage, daemon.folder, child, daemon.front))
        for who, said in first.items():
            self.assertEqual(await self.browse(daemon, who), said)
        servers[0].child.signal("KILL")
        await servers[0].child.ends()
        moved = await self.browse(daemon, "u")
        self.assertNotEqual(moved[0], "a")
        self.assertEqual(await self.browse(daemon, "u"), moved)
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_affinity_moved_total{pool="servers"}'], 1)

    async def test_several_pools(self) -> None:
        """Each pool has its own cookie, and a browser its server in each."""
        servers = await self.servers("abcd")
        front = self.stage.tcp()
        sections = f"[listener web]\nbind = {front.bind}\nprotocol = http\npool = web\n"
        sections += "[route api]\nlistener = web\npath = /api\npool = api\n"
        for name, own in ("web", servers[:2]), ("api", servers[2:]):
            lines = "".join(f"server {server.folder.name} = {server.place}\n" for server in own)
            sections += f"[pool {name}]\naffinity = cookie name={name}-srv path=/{TAKES}{lines}"
        daemon = await self.start(sections, front)
        for who, web, api in ("x", "a", "c"), ("y", "b", "d"), ("x", "a", "c"), ("y", "b", "d"):
            self.assertEqual((await self.browse(daemon, who))[0], web)
            said = await self.browse(daemon, who, "/api/users")
            self.assertRegex(said, rf"^{api} \[web-srv=[A-Za-z0-9_-]{{43}}\]\n$")

    async def test_sessions_of_servers(self) -> None:
        """Who has begun a session at an application stays with the process that has it."""
        apps = [await gunicorn(self.stage, name) for name in "abc"]
        daemon = await self.relay(
            *(app.place for app in apps),
            listener="protocol = http",
            proxyd="admin = unix:admin.sock",
            pool=f"affinity = learned_cookie name=SESSION ttl=5m{TAKES}",
        )
        began = {who: await self.browse(daemon, who, "/session") for who in "uvwxyz"}
        self.assertEqual(len({*began.values()}), 3)
        for _ in range(3):
            for who, said in began.items():
                session, _, process = said.partition(" at ")
                self.assertEqual(session, process)
                self.assertEqual(await self.browse(daemon, who, "/session"), said)
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_affinity_hits_total{pool="servers"}'], 18)
        # All browsers of one process have the session of that.
        self.assertEqual(metrics['proxyd_affinity_entries{pool="servers"}'], 3)


class OverTls(TerminationCase):
    """The same where TLS ends."""

    async def test_secure(self) -> None:
        """The cookie is for TLS alone, by HTTP/1.1 and by HTTP/2."""
        self.put(ROOT.issue("a.example"), "a.pem")
        pool = "affinity = cookie name=__Host-srv same_site=strict max_age=1h" + TAKES
        server = await nginx_http(self.stage, SAYS.format(name="a"), name="a")
        daemon = await self.serve(server.place, listener="protocol = http", pool=pool)
        jar = self.stage.folder / "jar"
        for version in ("--http1.1", "--http2", "--http2"):
            had = jar.exists()
            out = await self.curl(daemon.front, "a.example", version, "--include", "-b", jar, "-c", jar)
            found = re.search(r"(?i)set-cookie: __Host-srv=[A-Za-z0-9_-]{43}; (.*)\r\n", out)
            self.assertEqual(found is None, had)
            if found is not None:
                says = "Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict"
                self.assertEqual(found.group(1), says)
            self.assertTrue(out.endswith("a []\n"), out)
        self.assertIn("\tTRUE\t", Path(jar).read_text())
