"""
How does twistd start the daemon?

``twistd -n tcpproxy --config etc/proxy.ini`` serves; ``--check`` only says whether the configuration is
right.  Whatever is wrong with it, or with a port, is said in plain lines on standard error, and the exit
status is 1: nothing is started, and no traceback is shown.  This is the only module that imports the
reactor.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
from typing import Iterable, NoReturn, Optional

from twisted.logger import Logger
from twisted.python import usage

from proxyd.config import list_problems, load
from proxyd.config.document import Config
from proxyd.config.summary import summary
from proxyd.errors import ConfigError, StartError
from proxyd.native import version
from proxyd.service import ProxyService

log = Logger()

GARBAGE_THRESHOLDS = (10_000, 20, 100)  # of gc.set_threshold; Python's own are 700, 10, 10


def fail(lines: Iterable[object]) -> NoReturn:
    """Say what is wrong, a line each, and exit with status 1."""
    for line in lines:
        print(line, file=sys.stderr)
    raise SystemExit(1)


class Options(usage.Options):
    """The options of ``twistd tcpproxy``."""

    synopsis = "--config FILE [--check]"  # Twisted puts twistd's own usage before it
    longdesc = (
        "Serve as a TCP reverse proxy and load balancer, as one ini file says.  "
        "Example: twistd -n tcpproxy --config etc/proxy.ini"
    )
    optParameters = [["config", "c", None, "The ini file that says what to serve."]]
    optFlags = [["check", None, "Only say whether the configuration is right: exit status 0 or 1."]]

    config: Optional[Config] = None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"proxyd {version()}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        # A UsageError would print the whole usage, and on Twisted 25.5 exit with status 0.
        if not self["config"]:
            fail(["tcpproxy: --config FILE is missing; see twistd tcpproxy --help"])
        try:
            self.config = load(self["config"], os.environ)
        except ConfigError as error:
            fail(error.problems)
        if self["check"]:
            problems = list_problems(self.config)
            if problems:
                fail(problems)
            print("ok")
            print(summary(self.config))
            raise SystemExit(0)


def makeService(options: Options) -> ProxyService:
    """The daemon that the options ask for, with every port bound; exits when it cannot start."""
    from twisted.internet import reactor

    assert options.config is not None
    # Twisted's own is the clock on the wall, and would stall or fire all deadlines whenever that is set.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]

    def draining() -> None:
        # Twisted's own answer to a second signal is a traceback; ours cuts the drain short.
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, lambda *_: reactor.callFromThread(service.hurry))  # type: ignore[attr-defined]

    def hung_up(*_: object) -> None:
        said = "SIGHUP: there is no reload yet; nothing changed; log files need no signal"
        reactor.callFromThread(log.info, said)  # type: ignore[attr-defined]

    service = ProxyService(reactor, options.config, os.environ, random.random, time.time, draining)
    try:
        service.bind()
    except StartError as error:
        fail(error.lines)
    reactor.callWhenRunning(_leave_alone_what_stays)
    # Unanswered it would end the process at once, without a drain; not before Twisted has set its signals.
    reactor.callWhenRunning(signal.signal, signal.SIGHUP, hung_up)
    return service


def _leave_alone_what_stays() -> None:
    """
    Spare the garbage collector what lives as long as the daemon.

    A connection leaves no garbage cycles behind, but each round of the collector looks at all there is: a
    full one took 30 ms of everybody's latency, and all together a tenth of what a short connection costs.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
