"""Is a program of the operator's run as it should be, and does nothing of it stay behind?"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Optional

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.task import deferLater

from proxyd.config.address import Address, Addresses, TcpAddress, UnixAddress
from proxyd.config.probes import CommandAsk
from proxyd.relay.stock import Stock
from proxyd.upkeep.probes.command import faults, probe
from proxyd.upkeep.probes.conversation import Call, Failed, Unable
from tests.support.case import AsyncCase
from tests.support.walltime import SetTime

reactor: Any = installed_reactor
LOOK_SECONDS = 0.01


class CommandTests(AsyncCase):
    def script(self, text: str) -> str:
        """A program of these lines of sh."""
        path = str(os.path.abspath(self.mktemp()))
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)
        return path

    def begin(
        self,
        text: str,
        *arguments: str,
        address: Address = TcpAddress("::1", 80),  # noqa: B008
        processes: Optional[DeferredSemaphore] = None,
    ) -> Deferred[Any]:
        call = Call(
            reactor,
            SetTime(reactor.seconds),
            Stock(reactor),
            address,
            pool="web",
            server="a",
            processes=processes,
        )
        return Deferred.fromCoroutine(probe(call, CommandAsk(self.script(text), arguments)))

    async def fails(self, text: str, why: str) -> None:
        failed = await self.assertFailure(self.begin(text), Failed)
        self.assertEqual(str(failed), why)

    async def says(self, path: str) -> str:
        """What is in a file that the program writes at once, when it is there."""
        while not os.path.exists(path):
            await deferLater(reactor, LOOK_SECONDS)
        return Path(path).read_text("utf-8").strip()

    async def is_gone(self, pid: int) -> None:
        """Wait until the process is no more; a zombie whose parent does not care is none."""
        while True:
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        return
            except OSError as failed:
                self.assertIn(failed.errno, (errno.ENOENT, errno.ESRCH))
                return
            await deferLater(reactor, LOOK_SECONDS)

    async def test_passes(self) -> None:
        """A program that exits with 0 passes, whatever it says."""
        self.assertEqual(await self.begin("echo fine; echo less so >&2"), "")

    async def test_fails(self) -> None:
        """Otherwise the last line of what it says is the reason, and how it ended."""
        await self.fails("echo one; echo two >&2; echo; exit 3", "exited with 3: two")
        await self.fails("exit 1", "exited with 1")
        await self.fails("kill -TERM $$", "was ended by signal 15")

    async def test_told(self) -> None:
        """It is told of the server by its environment, in which nothing else of ours is, and by arguments."""
        self.patch(os, "environ", {**os.environ, "SECRET": "hidden"})
        for address, host, port in (
            (TcpAddress("::1", 80), "::1", "80"),
            (UnixAddress("/run/a sock"), "/run/a sock", ""),
            (Addresses((TcpAddress("10.0.0.1", 80), TcpAddress("10.0.0.2", 80))), "10.0.0.1", "80"),
        ):
            outcome = self.begin(
                'echo "$PROXYD_SERVER_ADDR,$PROXYD_SERVER_PORT,$PROXYD_SERVER_NAME,$PROXYD_POOL_NAME,"'
                '"$SECRET,$#,$1,$2"; exit 1',
                "{address}:{port}",
                "$(id) *",
                address=address,
            )
            failed = await self.assertFailure(outcome, Failed)
            self.assertEqual(str(failed), f"exited with 1: {host},{port},a,web,,2,{host}:{port},$(id) *")

    async def test_time_over(self) -> None:
        """When the time is over it is killed, and so is what it has started."""
        path = str(os.path.abspath(self.mktemp()))
        outcome = self.begin(f"sleep 600 & echo $! $$ >{path}.new; mv {path}.new {path}; wait")
        pids = [int(pid) for pid in (await self.says(path)).split()]
        outcome.cancel()
        await self.assertFailure(outcome, CancelledError)
        for pid in pids:
            await self.is_gone(pid)

    async def test_leaves_a_child(self) -> None:
        """What it has left behind when it exits ends as well, and is not waited for."""
        path = str(os.path.abspath(self.mktemp()))
        self.assertEqual(await self.begin(f"sleep 600 & echo $! >{path}"), "")
        await self.is_gone(int(await self.says(path)))

    async def test_talks_without_end(self) -> None:
        """One that talks more than anyone wants to hear is heard to the end, and little of it kept."""
        await self.fails("yes x | head -c 3000000; echo end; exit 1", "exited with 1: end")

    async def test_waits_for_its_turn(self) -> None:
        """Only so many run at a time; one whose time is over before its turn says nothing of the server."""
        processes = DeferredSemaphore(1)
        first = self.begin("sleep 600", processes=processes)
        second = self.begin("exit 0", processes=processes)
        third = self.begin("exit 0", processes=processes)
        third.cancel()
        failed = await self.assertFailure(third, Unable)
        self.assertEqual(str(failed), "1 other commands were running all the time")
        self.assertNoResult(second)
        first.cancel()
        await self.assertFailure(first, CancelledError)
        self.assertEqual(await second, "")
        self.assertEqual(processes.tokens, 1)

    async def test_cannot_run(self) -> None:
        """What is no program is said at the start, and later it is no fault of the server."""
        for path in ("/nowhere", "/tmp", "/etc/passwd"):
            why = f"{path} is not a program that can be run"
            self.assertEqual(list(faults(CommandAsk(path))), [why])
            call = Call(reactor, SetTime(reactor.seconds), Stock(reactor), TcpAddress("::1", 1))
            outcome: Deferred[Any] = Deferred.fromCoroutine(probe(call, CommandAsk(path)))
            self.assertEqual(str(await self.assertFailure(outcome, Unable)), why)
        self.assertEqual(list(faults(CommandAsk("/bin/sh"))), [])

    async def test_cannot_start(self) -> None:
        """A system that has no process left is no fault of the server either."""

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        self.patch(reactor, "spawnProcess", refuse)
        failed = await self.assertFailure(self.begin("exit 0"), Unable)
        self.assertSubstring("cannot be started: Resource temporarily unavailable", str(failed))
