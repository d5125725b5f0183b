"""Are clients banned from the real daemon while it runs, by proxyctl and by fail2ban?"""

from __future__ import annotations

import json
import shutil
import sys

from tests.functional.test_admin import AdminCase
from tests.functional.test_lists import PING, PONG, Visits
from tests.support.daemon import twistd
from tests.support.peer import SocketPeer
from tests.support.services import redis
from tests.support.stage import PYTHONPATH, ROOT, program

JAIL = """
[proxyd]
enabled = true
filter = proxyd
action = proxyd[proxyctl="{proxyctl}", socket="{socket}"]
logpath = {log}
backend = polling
findtime = 10m
bantime = 1h
maxretry = 3
"""


class BanCase(Visits, AdminCase):
    """A daemon with an admin socket, and clients from addresses of their own."""

    async def banned(self, source: str) -> None:
        """A client from there is closed, and its record says that it is banned."""
        before = self.refusals(source)
        await self.closed(source=source)
        await self.stage.until(lambda: self.refusals(source) > before, f"a record that {source} is banned")

    def refusals(self, source: str) -> int:
        """How many records say that a client from there is banned."""
        records = map(json.loads, self.daemon.access_log.read_text().splitlines())
        return sum(one["reason"] == "banned" and one["client"].startswith(f"{source}:") for one in records)


class Bans(BanCase):
    async def test_life(self) -> None:
        """Who is banned is refused, who is not is served, and when the ban is ended it is as before."""
        await self.serve()
        await self.answered(source="127.0.0.2")
        said = await self.does("bans", "add", "127.0.0.2", "1h", "--reason", "too loud")
        self.assertEqual(said, "127.0.0.2 is banned for 1h00m\n")
        await self.banned("127.0.0.2")
        await self.answered(source="127.0.0.3")
        self.assertIn("too loud", await self.does("bans", "list"))
        self.assertEqual(await self.does("bans", "remove", "127.0.0.2"), "127.0.0.2 is let in again\n")
        await self.answered(source="127.0.0.2")
        self.assertEqual(await self.does("bans", "export"), "")

    async def test_end(self) -> None:
        """A ban ends by itself."""
        await self.serve()
        said = await self.does("bans", "add", "127.0.0.2", "1s")
        self.assertEqual(said, "127.0.0.2 is banned for 1s\n")
        while "127.0.0.2 " in await self.does("bans", "list"):
            pass
        await self.answered(source="127.0.0.2")

    async def test_cut(self) -> None:
        """With --cut the open connections of the banned end too, and those of nobody else."""
        await self.serve()
        theirs = [await self.stays("127.0.0.2"), await self.stays("127.0.0.3")]
        other = await self.stays("127.0.0.4")
        said = await self.does("bans", "add", "127.0.0.2/31", "1h", "--cut")
        self.assertIn("connections cut: 2\n", said)
        for peer in theirs:
            await peer.sees_either()
        self.assertEqual({record["reason"] for record in await self.daemon.records(2)}, {"banned"})
        await self.does("bans", "add", "127.0.0.4", "1h")
        other.send(PING)
        await other.receives(2 * len(PONG))

    async def stays(self, source: str) -> SocketPeer:
        """A client from there that has been answered, and stays."""
        peer = self.come(source)
        await peer.receives(len(PONG))
        return peer

    async def test_text(self) -> None:
        """What one daemon exports another one imports."""
        await self.serve()
        path, count = self.stage.folder / "bans.txt", 3000
        path.write_text("".join(f"10.0.{n >> 8}.{n & 255} never number {n}\n" for n in range(count)))
        self.assertEqual(await self.does("bans", "import", path), f"bans added: {count}\n")
        self.assertEqual(await self.does("bans", "export"), path.read_text())


class Restart(BanCase):
    async def test_restart(self) -> None:
        """Who is banned is banned after a restart, with the same end and reason."""
        state = self.stage.subfolder("state")
        place = (await redis(self.stage)).place
        self.daemon = await self.relay(place, proxyd=f"admin = unix:admin.sock\nstate = {state}")
        await self.does("bans", "add", "127.0.0.2", "1h", "--reason", "too loud")
        before = await self.does("bans", "export")
        await self.daemon.stop()
        config = self.daemon.folder / "proxy.ini"
        self.daemon.child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        await self.daemon.child.says(rb"banned as before: 1")
        await self.daemon.child.says(rb"proxyd [^:]+: \d+ listener")
        self.assertEqual(await self.does("bans", "export"), before)
        await self.banned("127.0.0.2")
        await self.answered(source="127.0.0.3")


class Fail2ban(BanCase):
    async def test_jail(self) -> None:
        """With our filter and our action, fail2ban bans who speaks nothing that the listener knows."""
        server = program("fail2ban-server", "fail2ban")
        text = (
            f"[listener front]\nbind = {(front := self.stage.tcp()).bind}\ntls = passthrough\npool = p\n"
            f"[pool p]\nserver a = {(await redis(self.stage)).place}\n"
        )
        self.daemon = await self.start(text, front, proxyd="admin = unix:admin.sock\naccess_log = text.log")
        folder = self.stage.subfolder("fail2ban")
        for kind in ("filter.d", "action.d"):
            shutil.copytree(ROOT / "etc" / "fail2ban" / kind, folder / kind)
        (folder / "fail2ban.conf").write_text("[Definition]\ndbfile = None\n")
        proxyctl = f"env PYTHONPATH={PYTHONPATH} {sys.executable} -m proxyd.cli"
        log = self.daemon.folder / "text.log"
        (folder / "jail.conf").write_text(JAIL.format(proxyctl=proxyctl, socket=self.socket, log=log))
        child = self.stage.spawn(
            server, "-f", "-c", folder, "-s", folder / "sock", "-p", folder / "pid", "-x",
            "--logtarget", "STDOUT", "start",
        )  # fmt: skip
        await child.says(rb"Jail 'proxyd' started")
        for _ in range(3):
            await self.closed(source="127.0.0.2")  # PING is no ClientHello
        await self.closed(source="127.0.0.3")
        await child.says(rb"\[proxyd\] Ban 127.0.0.2")
        said = ""
        while "127.0.0.2 " not in said:
            said = await self.does("bans", "list")
        self.assertIn("fail2ban proxyd", said)
        await self.closed(source="127.0.0.2")
        await self.stage.until(lambda: "reason=banned" in log.read_text(), "a record")
        self.assertNotIn("127.0.0.3 ", said)
