"""What can one ask from the shell, without starting the daemon?  The command ``proxyctl``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import Optional, Sequence

from proxyd.config import load
from proxyd.config.summary import summary
from proxyd.errors import ConfigError
from proxyd.native import version


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks; the exit status.  Raises SystemExit(2) if that is not known."""
    arguments = _parser().parse_args(argv)
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):  # a path may have letters that the terminal does not
            stream.reconfigure(errors="backslashreplace")
    return check(arguments.file)


def check(path: str) -> int:
    """Say what a configuration does, or everything that is wrong in it."""
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    print("ok")
    print(summary(config))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proxyctl",
        description="Commands around the proxy that twistd tcpproxy runs.",
        epilog="example: proxyctl check /etc/proxyd/proxy.ini",
    )
    parser.add_argument("--version", action="version", version=f"proxyctl {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    command = commands.add_parser(
        "check",
        help="say whether a configuration can be used",
        description="Read a configuration and all that it includes. If it can be used, say ok and what it "
        "does; if not, say everything that is wrong, and exit with status 1. Nothing is started.",
        epilog="example: proxyctl check /etc/proxyd/proxy.ini",
    )
    command.add_argument("file", metavar="FILE", help="the configuration, an ini file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
