"""
What can one ask from the shell, of a configuration or of the running daemon?  The command ``proxyctl``.

Each module here is a family of commands, and names them in its ``COMMANDS``.  What a command needs besides
the configuration it imports when it is run, so that the others start as quickly as before.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import Optional, Sequence

from proxyd.cli import bans, cache, check, clear, explain, show, simulate, steer
from proxyd.native import version

INTERRUPTED = 130  # as a shell has it of a command that SIGINT has ended
UNREAD = 141  # and that SIGPIPE has ended

_OFFLINE = (*check.COMMANDS, *explain.COMMANDS, *simulate.COMMANDS)
COMMANDS = (*_OFFLINE, *show.COMMANDS, *steer.COMMANDS, *clear.COMMANDS, *bans.COMMANDS, *cache.COMMANDS)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """
    Do what the command line asks; the exit status.  Raises SystemExit(2) if that is not known.

    Who interrupts it, or reads no further, as ``head`` does, is told nothing more.
    """
    arguments = _parsed(argv)
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):  # a path may have letters that the terminal does not
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still to be written is written to nobody, or the end of Python would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    return status


def _parsed(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """What is asked; where a command takes any number of words (``words``), also behind an option."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    words: Optional[list[str]] = getattr(arguments, getattr(arguments, "words", ""), None)
    unknown = [word for word in rest if words is None or word.startswith("-")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if words is not None:
        words += rest
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proxyctl",
        description="Commands around the proxy that twistd tcpproxy runs.",
        epilog="example: proxyctl check /etc/proxyd/proxy.ini",
    )
    parser.add_argument("--version", action="version", version=f"proxyctl {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser
