"""What did the operator ask for?  Ini text in, one frozen `Config` out; nobody else sees ini text."""

from __future__ import annotations

from typing import Mapping

from proxyd.config.document import Config, configuration
from proxyd.config.reader import read


def load(path: str, environ: Mapping[str, str]) -> Config:
    """
    The configuration in a file and in those it includes; ``environ`` is what ``${NAME}`` is looked up in.

    Raises `proxyd.errors.ConfigError` with every problem of all files.
    """
    return configuration(read(path, environ))
