"""What is a command of ``proxyctl``, and how does it read the configuration that it is given?"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Callable, NoReturn

from attrs import frozen

from proxyd.config import load
from proxyd.config.document import Config
from proxyd.errors import ConfigError

if TYPE_CHECKING:
    from argparse import _SubParsersAction


@frozen
class Command:
    """
    One word after ``proxyctl``: what it is for, the arguments it takes, and what it does with them.

    ``help`` is its line in the list of commands and ``example`` a command line that one can copy; both
    begin in lower case.  ``run`` returns the exit status: 0, 1 if what was asked cannot be done, 2 if it
    was asked in a way that cannot be understood.
    """

    name: str
    help: str
    description: str
    example: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]

    def add_to(self, commands: _SubParsersAction[ArgumentParser]) -> None:
        """Make it known to the parser."""
        parser = commands.add_parser(
            self.name, help=self.help, description=self.description, epilog=f"example: {self.example}"
        )
        self.arguments(parser)
        parser.set_defaults(run=self.run)


def takes_file(parser: ArgumentParser) -> None:
    """Add the argument FILE, the configuration."""
    parser.add_argument("file", metavar="FILE", help="the configuration, an ini file")


def read_config(path: str) -> Config:
    """The configuration of a file; if it cannot be used, say why and leave with status 1."""
    try:
        return load(path, os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def misused(command: str, text: str) -> NoReturn:
    """Say what is wrong with how a command was asked, and leave with status 2."""
    print(f"proxyctl {command}: error: {text}", file=sys.stderr)
    raise SystemExit(2)
