"""What did the operator ask for?  Ini text in, one frozen `Config` out; nobody else sees ini text."""

from __future__ import annotations

from typing import Mapping

from proxyd.config.affinity import read_secret
from proxyd.config.auth import read_users
from proxyd.config.document import Config, configuration
from proxyd.config.errorpage import LARGEST
from proxyd.config.files import read_small
from proxyd.config.lists import read_slices
from proxyd.config.probes import CommandAsk
from proxyd.config.reader import read
from proxyd.errors import Problem


def load(path: str, environ: Mapping[str, str]) -> Config:
    """
    The configuration in a file and in those it includes; ``environ`` is what ``${NAME}`` is looked up in.

    Raises `proxyd.errors.ConfigError` with every problem of all files.
    """
    return configuration(read(path, environ))


def list_problems(config: Config) -> list[Problem]:
    """
    What is wrong in the small files that a configuration names: lists, pages, users, secrets, programs.

    `load` does not open them.
    """
    clients = [spec.networks for spec in config.lists]
    clients += [rule.clients for listener in config.listeners for rule in listener.access]
    routes = [route for listener in config.listeners for route in listener.routes]
    clients += [route.condition.client for route in routes if route.condition.client is not None]
    clients += [pool.maintenance_allow for pool in config.pools]
    problems: list[Problem] = []
    for path in dict.fromkeys(path for one in clients for path in one.paths):
        for _ in read_slices(path, problems):
            pass
    for action in (route.action for route in dict.fromkeys(routes)):
        if action.respond is not None and action.respond.path:
            read_small(action.respond.path, problems)
        if action.auth is not None:
            read_users(action.auth.path, problems)
    pages = [page for pool in config.pools for page in pool.maintenance_page]
    of_all = [one.http.error_page for one in config.listeners] + [one.action.error_page for one in routes]
    pages += [page for of_each in of_all for _, several in of_each for page in several]
    for path in dict.fromkeys(page.path for page in pages if page.path):
        read_small(path, problems, LARGEST)
    cookies = [pool.affinity.cookie for pool in config.pools if pool.affinity is not None]
    for path in dict.fromkeys(cookie.secret_path for cookie in cookies if cookie is not None):
        if path:
            read_secret(path, problems)
    asks = [check.ask for pool in config.pools for check in pool.checks]
    for ask in dict.fromkeys(ask for ask in asks if isinstance(ask, CommandAsk)):
        if not ask.can_be_run:
            problems.append(Problem(ask.path, 0, "is not a program that can be run"))
    return problems
