"""Are clients from real addresses let in and kept out as the lists say, and as their files come to say?"""

from __future__ import annotations

from typing import Any, Optional

from proxyd.wire import proxyprotocol
from proxyd.wire.proxyprotocol import End
from tests.support.certificate import key_and_certificate
from tests.support.daemon import Daemon, DaemonCase
from tests.support.peer import SocketPeer
from tests.support.services import redis
from tests.support.stage import Place

PING = b"PING\r\n"
PONG = b"+PONG\r\n"
SELF = "127.0.0.1"


class Visits(DaemonCase):
    """Clients from addresses of their own.  The server is Redis, because one word makes it answer."""

    daemon: Daemon

    def come(self, source: str = "", first: bytes = b"") -> SocketPeer:
        """A client from this address, who asks."""
        peer = self.stage.connect(self.daemon.front, source=source)
        peer.send(first + PING)
        return peer

    async def answered(self, **how: Any) -> None:
        """A client is served."""
        peer = self.come(**how)
        self.assertEqual(await peer.receives(len(PONG)), PONG)
        peer.finish()
        await peer.sees_end()

    async def closed(self, **how: Any) -> None:
        """A client is closed, and has got nothing."""
        try:
            peer = self.come(**how)
        except ConnectionResetError:
            return  # so soon that connect(2) tells of it
        self.assertEqual(await peer.sees_either(), b"")


class ListCase(Visits):
    """A daemon with lists."""

    async def serve(self, listener: str, front: Optional[Place] = None) -> Daemon:
        self.daemon = await self.relay((await redis(self.stage)).place, listener=listener, front=front)
        return self.daemon

    async def refused(self, count: int) -> list[str]:
        """The details of the records of those who were denied."""
        records = [record for record in await self.daemon.records(count) if record["reason"] == "denied"]
        self.assertTrue(all(record["bytes_in"] == record["bytes_out"] == 0 for record in records))
        return [record["detail"] for record in records]


class Lists(ListCase):
    async def test_addresses(self) -> None:
        """The first line that names a client decides; who is denied is recorded and counted."""
        await self.several("lane")

    async def test_on_the_stock_datapath(self) -> None:
        """It is so on Twisted's transports too."""
        await self.several("stock")

    async def several(self, datapath: str) -> None:
        front = self.stage.tcp()
        text = (
            f"[listener front]\nbind = {front.bind}\ndatapath = {datapath}\npool = p\n"
            "deny = 127.0.0.66 @bad\nallow = 127.0.0.0/24\n[list bad]\nnetworks = 127.0.0.64/31\n"
            f"[pool p]\nserver a = {(await redis(self.stage)).place}\n"
        )
        self.daemon = await self.start(text, front)
        for last, let_in in ((1, True), (63, True), (64, False), (65, False), (66, False), (67, True)):
            await (self.answered if let_in else self.closed)(source=f"127.0.0.{last}")
        await self.closed(source="127.0.1.1")
        self.assertEqual(
            await self.refused(7), ["deny: @bad", "deny: @bad", "deny: its networks", "no allow names it"]
        )
        name = 'proxyd_refused_total{listener="front",reason="denied"}'
        self.assertEqual((await self.daemon.metrics())[name], 4)

    async def test_ipv6(self) -> None:
        """::1 is let in or kept out as any address is."""
        front = self.stage.tcp6()
        await self.serve("deny = ::1", front=front)
        await self.closed()
        self.assertEqual(await self.refused(1), ["deny: its networks"])

    async def test_unix(self) -> None:
        """Where addresses are allowed, clients of a unix socket need a word of their own."""
        place = self.stage.unix("front.sock")
        await self.serve("allow = 127.0.0.0/8", front=place)
        self.assertEqual(await self.stage.connect(place).sees_either(), b"")
        self.assertEqual((await self.daemon.record())["detail"], "no allow names it")

    async def test_tls(self) -> None:
        """Where an address ends TLS, who is denied gets no handshake, and the log no traceback."""
        front = self.stage.tcp()
        both = self.stage.folder / "both.pem"
        both.write_bytes(key_and_certificate())
        text = (
            f"[listener front]\nbind = ssl:{front.port}:interface={front.host}:privateKey={both}\npool = p\n"
            f"deny = {SELF}\n[pool p]\nserver a = 127.0.0.1:1\n"
        )
        self.daemon = await self.start(text, front)
        for _ in range(3):
            await self.closed(source=SELF)
        self.assertEqual(await self.refused(3), ["deny: its networks"] * 3)

    async def test_behind_a_proxy(self) -> None:
        """The client that a PROXY header tells of is judged, and not the proxy."""
        await self.serve(f"proxy_protocol = {SELF}\nallow = 192.0.2.0/24")
        for told, let_in in (("192.0.2.7", True), ("192.0.3.7", False)):
            header = proxyprotocol.v1(End(told, 5555), End("192.0.2.1", 443))
            await (self.answered if let_in else self.closed)(source=SELF, first=header)
        await self.closed(source="127.0.0.2")
        records = await self.daemon.records(3)
        self.assertEqual(
            sorted((record["client"].split(":")[0], record["reason"]) for record in records),
            [("127.0.0.2", "denied"), ("192.0.2.7", "client_finished"), ("192.0.3.7", "denied")],
        )

    async def test_file(self) -> None:
        """A file that is replaced is in force some seconds later; a wrong one changes nothing."""
        path = self.stage.folder / "bad.txt"
        path.write_text("127.0.0.2 ; the first\n")
        await self.serve(f"deny = file:{path}")
        await self.closed(source="127.0.0.2")
        await self.answered(source="127.0.0.3")
        self.replace(path, "127.0.0.3\n")
        await self.daemon.child.says(rb"bad.txt: was read again \(networks: 1\)")
        await self.closed(source="127.0.0.3")
        await self.answered(source="127.0.0.2")
        self.replace(path, "127.0.0.2\n127.0.0.2/8\n")
        await self.daemon.child.says(rb'bad.txt:2: "127.0.0.2/8" has bits set')
        await self.daemon.child.says(rb"bad.txt: what was read before holds \(networks: 1\)")
        await self.closed(source="127.0.0.3")

    def replace(self, path: Any, text: str) -> None:
        """Put a new file in the place of the old one."""
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)
