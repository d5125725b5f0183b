"""
How does a test get networks of its own, in which any address is free and every packet can be seen?

A `Host` is a network namespace that belongs to a process which only waits: when that has ended, the
namespace and all that was in it is gone.  Two hosts are joined by a pair of virtual Ethernet interfaces.
It takes root, and of Debian iproute2 and tcpdump.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import Iterator

from twisted.trial.unittest import SkipTest

from tests.support.stage import Argument, Child, Stage, program

_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A network namespace; `pid` is the process that keeps it."""

    def __init__(self, stage: Stage, child: Child) -> None:
        self._stage = stage
        self.pid = child.pid

    async def run(self, *command: Argument) -> bytes:
        """Run a program there that must succeed, and return what it printed."""
        return await self._stage.check(*command, network=self.pid)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that are made meanwhile are of that network, and stay so."""
        ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        theirs = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            _move(theirs)
            yield
        finally:
            _move(ours)
            os.close(theirs)
            os.close(ours)

    async def sees(self, interface: str, what: str) -> Child:
        """A tcpdump of the packets that come and go by an interface; it says a line or two for each."""
        path = program("tcpdump", "tcpdump")
        arguments = ("-i", interface, "-n", "-v", "-l", "--immediate-mode", "-Z", "root")
        child = self._stage.spawn(path, *arguments, what, network=self.pid)
        await child.says(rb"listening on")
        return child


def _move(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


async def host(stage: Stage) -> Host:
    """A host with nothing but a loopback interface."""
    if os.geteuid() != 0:
        raise SkipTest("networks of one's own take root")
    child = stage.spawn(program("unshare", "util-linux"), "-n", "sh", "-c", "echo made; exec cat", feed=None)
    await child.says(rb"made")
    made = Host(stage, child)
    await made.run("ip", "link", "set", "lo", "up")
    return made


async def join(one: Host, its: str, other: Host, others: str, name: str) -> None:
    """Put a cable between two hosts; each gets an address (``10.77.1.1/24``) on an interface of this name."""
    peer = ("peer", "name", name, "netns", str(other.pid))
    await one.run("ip", "link", "add", name, "type", "veth", *peer)
    for host, address in (one, its), (other, others):
        await host.run("ip", "address", "add", address, "dev", name)
        await host.run("ip", "link", "set", name, "up")
