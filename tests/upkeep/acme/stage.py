"""What do the tests of certificates from an authority have in common?"""

from __future__ import annotations

import os
from typing import Any, Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from proxyd.config.acme import AcmeSpec, CertificateSpec
from tests.support.acme import DIRECTORY, Authority
from tests.support.case import Case
from tests.support.walltime import SetTime

NOW = 1e9
DAY = 86400.0
WWW = CertificateSpec("www", ("www.example", "example.org"))
SPEC = AcmeSpec("ca", DIRECTORY, (WWW,))


def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
    """Called at once."""
    return maybeDeferred(work)


class AcmeCase(Case):
    """An authority in memory, a state folder, and a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds, NOW)
        self.authority = Authority(self.wall.now)
        self.state = self.mktemp()
        os.mkdir(self.state)

    def asked(self) -> list[str]:
        """What the authority was asked since the last look, without nonces and the directory."""
        found = [line for line in self.authority.asked if line not in ("HEAD /nonce", "GET /directory")]
        self.authority.asked.clear()
        return found
