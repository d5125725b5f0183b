"""Can operators rely on what the access log and the metrics say?"""

from __future__ import annotations

import re
import shutil
from collections import Counter

from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import redis

PING = b"PING\r\n"
PONG = b"+PONG\r\n"


class Observed(DaemonCase):
    """A daemon before Redis, and clients that ask it once."""

    async def serve(self, proxyd: str = "") -> Daemon:
        server = await redis(self.stage)
        return await self.relay(server.place, proxyd=proxyd)

    async def ask(self, daemon: Daemon, times: int = 1) -> None:
        """Connect, ask so many times, and leave."""
        client = self.stage.connect(daemon.front)
        client.send(PING * times)
        client.finish()
        await client.sees_end()
        self.assertEqual(client.received, PONG * times)

    async def test_rename(self) -> None:
        """When the log was renamed, a new file is made and no line is lost or written twice."""
        daemon = await self.serve()
        old = daemon.folder / "access.log.1"
        asked = 0
        for _ in range(5):
            await self.ask(daemon)
            asked += 1
        await daemon.records(asked)
        daemon.access_log.rename(old)

        async def ask_again() -> None:
            nonlocal asked
            await self.ask(daemon)
            asked += 1
            lines = old.read_bytes().count(b"\n")
            await self.stage.until(
                lambda: daemon.access_log.exists() or old.read_bytes().count(b"\n") > lines, "a line"
            )

        while not daemon.access_log.exists():
            await ask_again()
        await self.ask(daemon)
        asked += 1
        await daemon.records(2)
        self.assertEqual((old.read_bytes() + daemon.access_log.read_bytes()).count(b"\n"), asked)

    async def test_copytruncate(self) -> None:
        """When the log was copied and truncated, the next line is the first of the file."""
        daemon = await self.serve()
        for _ in range(5):
            await self.ask(daemon)
        await daemon.records(5)
        shutil.copy(daemon.access_log, daemon.folder / "access.log.1")
        with open(daemon.access_log, "r+b") as file:
            file.truncate(0)
        await self.ask(daemon)
        self.assertEqual((await daemon.record())["bytes_in"], len(PING))

    async def test_text(self) -> None:
        """Lines of text have every field, in one order."""
        daemon = await self.serve("access_log = text.log")
        await self.ask(daemon, 3)
        await daemon.leaves_nothing()
        await daemon.stop()
        self.assertRegex(
            (daemon.folder / "text.log").read_text(),
            re.compile(
                r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z listener=front client=127\.0\.0\.1:\d+"
                r" pool=servers server=a address=\S+ via=- sni=- route=- id=- tls=- alpn=- cn=- queue=-"
                r" connect=\d+\.\d{6}"
                r" total=\d+\.\d{6} in=18 out=21 retries=0 server_tls=- client_tcp=- server_tcp=-"
                r" reason=client_finished fault=nobody detail=-\n\Z"
            ),
        )

    async def test_twistd_log(self) -> None:
        """The lines may go to the log of twistd instead."""
        daemon = await self.serve("access_log = twistd format=json")
        await self.ask(daemon)
        await daemon.child.says(rb'\{"started":".*","listener":"front",.*"reason":"client_finished"')

    async def test_metrics(self) -> None:
        """The counters agree with each other, with the access log and with what the clients have done."""
        daemon = await self.serve()
        before = await daemon.metrics()
        self.assertEqual(before['proxyd_server_up{pool="servers",server="a"}'], 1)
        self.assertGreater(before["process_resident_memory_bytes{}"], 0)
        for times in range(1, 11):
            await self.ask(daemon, times)
        client = self.stage.connect(daemon.front)  # a connection that is still open counts its bytes
        client.send(PING)
        await client.receives(len(PONG))
        now = await daemon.metrics()
        where = 'listener="front",pool="servers",'
        self.assertEqual(now['proxyd_connections_open{listener="front"}'], 1)
        self.assertEqual(now['proxyd_server_connections_open{pool="servers",server="a"}'], 1)
        self.assertEqual(now[f'proxyd_bytes_total{{direction="in",{where}server="a"}}'], 56 * len(PING))
        self.assertEqual(now[f'proxyd_bytes_total{{direction="out",{where}server="a"}}'], 56 * len(PONG))

        client.finish()
        await client.sees_end()
        await daemon.leaves_nothing()
        now = await daemon.metrics()
        records = await daemon.records(11)
        ended = Counter(record["reason"] for record in records)
        self.assertEqual(ended, {"client_finished": 11})
        self.assertEqual(
            now[f'proxyd_connections_total{{fault="nobody",{where}reason="client_finished",server="a"}}'], 11
        )
        self.assertEqual(now['proxyd_connection_seconds_count{listener="front"}'], 11)
        self.assertEqual(now['proxyd_connect_seconds_count{pool="servers",server="a"}'], 11)
        for direction in ("in", "out"):
            self.assertEqual(
                now[f'proxyd_bytes_total{{direction="{direction}",{where}server="a"}}'],
                sum(record[f"bytes_{direction}"] for record in records),
            )
