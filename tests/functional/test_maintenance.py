"""Is a pool closed and opened again while it runs, to those who are meant, and by those who may?"""

from __future__ import annotations

from typing import Any

from tests.functional.test_admin import AdminCase
from tests.support.daemon import Daemon, twistd
from tests.support.services import nginx_http
from tests.support.stage import Place, program

PAGE = "<h1>{reason}</h1><p>Back at noon.</p>"


class Maintenance(AdminCase):
    """curl, and a pool of one nginx."""

    async def curl(self, source: str, *arguments: Any) -> str:
        """The head and the body of what a client at this address gets."""
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--include", "--interface", source,
            *arguments, f"http://{self.daemon.front}/",
        )  # fmt: skip
        return out.decode()

    async def pools(self, *servers: Place, **how: Any) -> Daemon:
        (self.stage.folder / "closed.html").write_text(PAGE)
        (self.stage.folder / "state").mkdir()
        self.daemon = await self.relay(
            *servers,
            listener="protocol = http",
            proxyd=f"admin = unix:admin.sock\nstate = {self.stage.folder}/state",
            pool="maintenance_allow = 127.0.0.7\nmaintenance_retry_after = 1h\nidle_connection_timeout = 1s\n"
            f"maintenance_page = file:{self.stage.folder}/closed.html\n"
            "check = http interval=2s timeout=1900ms slow=200ms fall=1 rise=1",
        )
        return self.daemon

    async def closed(self) -> None:
        """Those who are not let in are told when to come again, and others are served."""
        out = await self.curl("127.0.0.8")
        self.assertTrue(out.startswith("HTTP/1.1 503 Service Unavailable\r\n"), out)
        self.assertIn("\r\nRetry-After: 3600\r\n", out)
        self.assertTrue(out.endswith("<h1>Service Unavailable</h1><p>Back at noon.</p>"), out)
        self.assertTrue((await self.curl("127.0.0.7")).endswith("\r\n\r\nhere"))

    async def test_closed_and_opened(self) -> None:
        """Clients are turned away but for some; checks go on; a restart knows; then all are served."""
        server = await nginx_http(self.stage, 'location / { return 200 "here"; }')
        daemon = await self.pools(server.place)
        await daemon.child.says(rb"server a \S+ is up")
        self.assertTrue((await self.curl("127.0.0.8")).endswith("\r\n\r\nhere"))
        said = await self.does("disable", "servers", "--reason", "new disk")
        self.assertIn("pool servers is in maintenance", said)
        await self.closed()
        out = await self.does("show", "pools")
        self.assertRegex(out, r"1 up; maintenance by uid 0(, logged in as uid \d+)?: new disk\n")
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_pool_maintenance{pool="servers"}'], 1)
        self.assertEqual(metrics['proxyd_maintenance_refused_total{pool="servers"}'], 1)
        records = await daemon.records(3)
        self.assertEqual([record["reason"] for record in records], ["answered", "maintenance", "answered"])
        await daemon.stop()
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", daemon.folder / "proxy.ini")
        await child.says(rb"\[pool servers\] is in maintenance: by uid 0(, logged in as uid \d+)?: new disk")
        self.daemon = self._tended(Daemon(self.stage, daemon.folder, child, daemon.front))
        await self.closed()
        server.child.signal("KILL")
        await server.child.ends()
        await child.says(rb"server a \S+ is down")
        await nginx_http(self.stage, 'location / { return 200 "here"; }', place=server.place, name="again")
        await child.says(rb"server a \S+ is up: check passed \(1 check\)")
        said = await self.does("enable", "servers")
        self.assertIn("pool servers serves its clients", said)
        self.assertTrue((await self.curl("127.0.0.8")).endswith("\r\n\r\nhere"))
