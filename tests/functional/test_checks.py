"""Do real servers pass the checks that speak their protocol, and are those that do no work found out?"""

from __future__ import annotations

import os
import signal

from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import Service, redis
from tests.support.stage import Place, program

EVERY = "interval=200ms timeout=150ms fast=100ms fall=2"


class ChecksCase(DaemonCase):
    """A daemon whose pool has a check."""

    async def checking(self, check: str, *servers: Place) -> Daemon:
        """Start one that checks these servers often."""
        return await self.relay(*servers, pool=f"check = {check} {EVERY}")

    async def is_up(self, daemon: Daemon) -> None:
        """Wait until the first server is up, and is not down again in the same breath."""
        await daemon.child.says(rb"server a \S+ is up: check passed")

    async def is_down(self, daemon: Daemon, why: bytes) -> None:
        """Wait until the first server is down for this reason."""
        await daemon.child.says(rb"server a \S+ is down: " + why)

    async def stops_and_goes_on(self, service: Service, daemon: Daemon, awaited: bytes) -> None:
        """A process that is stopped still accepts, and is down; when it goes on it is up."""
        await self.is_up(daemon)
        service.child.signal("STOP")
        await self.is_down(daemon, rb"no %s within 0.15s" % awaited)
        os.kill(service.child.pid, signal.SIGCONT)  # Twisted has no name for it
        await daemon.child.says(rb"server a \S+ is up: check passed \(2 checks in a row\)")


class RedisChecks(ChecksCase):
    async def cli(self, service: Service, *words: str) -> None:
        await self.stage.check(
            program("redis-cli", "redis-tools"),
            "-h",
            service.place.host,
            "-p",
            str(service.place.port),
            *words,
        )

    async def test_stopped(self) -> None:
        """Redis that is stopped is down, though its port accepts; and up when it goes on."""
        service = await redis(self.stage)
        daemon = await self.checking("redis role=master", service.place)
        await self.stops_and_goes_on(service, daemon, b"answer to (PING|ROLE)")

    async def test_login(self) -> None:
        """A user with a password passes; a wrong password is told by Redis's own words, and never shown."""
        service = await redis(self.stage)
        await self.cli(service, "ACL", "SETUSER", "probe", "on", ">sesame", "+ping", "+role")
        await self.cli(service, "CONFIG", "SET", "requirepass", "other")
        daemon = await self.checking("redis user=probe password=sesame", service.place)
        await self.is_up(daemon)
        await self.cli(service, "-a", "other", "ACL", "SETUSER", "probe", "resetpass", ">changed")
        await self.is_down(daemon, rb"answered -WRONGPASS invalid username-password pair")
        self.assertNotIn("sesame", daemon.log)

    async def test_without_password(self) -> None:
        """A server that wants a password, and gets none, is down."""
        service = await redis(self.stage)
        await self.cli(service, "CONFIG", "SET", "requirepass", "sesame")
        daemon = await self.checking("redis", service.place)
        await self.is_down(daemon, rb"answered -NOAUTH")

    async def test_replica(self) -> None:
        """Of a master and its replica only the one with the role passes."""
        master, replica = await redis(self.stage), await redis(self.stage)
        await self.cli(replica, "REPLICAOF", master.place.host, str(master.place.port))
        daemon = await self.checking("redis role=master", replica.place, master.place)
        await self.is_down(daemon, rb"is replica, not master")
        await daemon.child.says(rb"server b \S+ is up")
