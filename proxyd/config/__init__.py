"""What did the operator ask for?  Ini text in, one frozen `Config` out; nobody else sees ini text."""

from __future__ import annotations

from typing import Mapping

from proxyd.config.document import Config, configuration
from proxyd.config.lists import read_slices
from proxyd.config.reader import read
from proxyd.errors import Problem


def load(path: str, environ: Mapping[str, str]) -> Config:
    """
    The configuration in a file and in those it includes; ``environ`` is what ``${NAME}`` is looked up in.

    Raises `proxyd.errors.ConfigError` with every problem of all files.
    """
    return configuration(read(path, environ))


def list_problems(config: Config) -> list[Problem]:
    """What is wrong in the files of lists that a configuration names, which `load` does not open."""
    clients = [spec.networks for spec in config.lists]
    clients += [rule.clients for listener in config.listeners for rule in listener.access]
    problems: list[Problem] = []
    for path in dict.fromkeys(path for one in clients for path in one.paths):
        for _ in read_slices(path, problems):
            pass
    return problems
