"""Can this configuration be used, and what does it do?  ``proxyctl check``."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from typing import Iterator

from proxyd.cli.command import Command, read_config, takes_file
from proxyd.config import list_problems
from proxyd.config.document import Config
from proxyd.config.listener import ListenerSpec
from proxyd.config.summary import summary


def check(arguments: Namespace) -> int:
    """Say what a configuration does, or everything that is wrong in it."""
    config = read_config(arguments.file)
    problems: list[object] = [*list_problems(config)]
    notes: list[str] = []
    problems += _missing_folders(config)
    for listener in config.listeners:
        _read_certificates(listener, problems, notes)
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    print("ok")
    print(summary(config))
    for note in notes:
        print(f"note: {note}")
    return 0


def _missing_folders(config: Config) -> Iterator[str]:
    """A line for each folder that is not there, of which the daemon would say so at its start."""
    for cache in config.caches:
        if cache.path and not os.path.isdir(cache.path):
            yield f"[cache {cache.name}] path: {cache.path} is no folder"
    for listener in config.listeners:
        roots = [(f"[listener {listener.name}]", listener.http.root)]
        roots += [(f"[route {route.name}]", route.action.root) for route in listener.routes]
        for where, root in roots:
            if root is not None and not os.path.isdir(root.path):
                yield f"{where} root: {root.path} is no folder"


def _read_certificates(listener: ListenerSpec, problems: list[object], notes: list[str]) -> None:
    """Read the certificates of a listener, as the daemon does at its start; what is wrong are problems."""
    for tls in dict.fromkeys(filter(None, map(listener.tls_at, listener.binds))):
        # Here, as it needs cryptography, which takes a tenth of a second to be imported.
        from proxyd.relay.tls.files import Reading, judge, look, read

        if not tls.acme:
            where = f"[listener {listener.name}] tls: "
            reading = read(tls, look(tls), Reading())
            troubles, warnings = judge(tls, reading, time.time())
            problems += [f"{where}{trouble}" for trouble in troubles]
            notes += [f"{where}{warning}" for warning in warnings]


COMMANDS = (
    Command(
        "check",
        help="say whether a configuration can be used",
        description="Read a configuration, all that it includes, the files of its lists, pages and secrets, "
        "and its certificates with their keys; programs of checks and folders must be there. If it can be "
        "used, say ok and what it does; if not, say everything that is wrong, and exit with status 1. "
        "Nothing is started.",
        example="proxyctl check /etc/proxyd/proxy.ini",
        arguments=takes_file,
        run=check,
    ),
)
