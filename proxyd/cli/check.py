"""Can this configuration be used, and what does it do?  ``proxyctl check``."""

from __future__ import annotations

import sys
from argparse import Namespace

from proxyd.cli.command import Command, read_config, takes_file
from proxyd.config import list_problems
from proxyd.config.summary import summary


def check(arguments: Namespace) -> int:
    """Say what a configuration does, or everything that is wrong in it."""
    config = read_config(arguments.file)
    problems = list_problems(config)
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    print("ok")
    print(summary(config))
    return 0


COMMANDS = (
    Command(
        "check",
        help="say whether a configuration can be used",
        description="Read a configuration, all that it includes, and the files of its lists. If it can "
        "be used, say ok and what it does; if not, say everything that is wrong, and exit with status 1. "
        "Nothing is started.",
        example="proxyctl check /etc/proxyd/proxy.ini",
        arguments=takes_file,
        run=check,
    ),
)
