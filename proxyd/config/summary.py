"""How would one tell a colleague, in a few lines, what a configuration does?"""

from __future__ import annotations

from typing import Iterator

from proxyd.config.document import Config
from proxyd.config.options import show_duration
from proxyd.config.pool import PoolSpec


def summary(config: Config) -> str:
    """
    A line for each listener, each pool and each thing beside them that is served or written.

    Before them stand the files that were read if there are several, and after them, as notes, what can be
    used but is hardly meant.
    """
    lines = []
    files = tuple(dict.fromkeys(config.files))
    if len(files) > 1:
        lines.append(f"read: {', '.join(files)}")
    for listener in config.listeners:
        binds = " ".join(bind.text for bind in listener.binds)
        lines.append(f"listener {listener.name}: {listener.protocol} on {binds}, to pool {listener.pool}")
    for pool in config.pools:
        lines.append(f"pool {pool.name}: {_pool(pool)}")
    if config.demo:
        for server in config.demo.servers:
            lines.append(f"demo server {server.name}: on {server.bind.text}")
    if config.daemon.metrics:
        lines.append(f"metrics: on {config.daemon.metrics.text}")
    if config.daemon.access_log:
        log = config.daemon.access_log
        lines.append(f"access log: {log.path or 'the log of twistd'}, as {log.format}")
    lines.extend(f"note: {note}" for note in _notes(config))
    return "\n".join(lines)


def _notes(config: Config) -> Iterator[str]:
    """What an operator should look at again."""
    used = {listener.pool for listener in config.listeners}
    for pool in config.pools:
        if pool.name not in used:
            yield f"no listener uses pool {pool.name}"
        if not any(server.weight for server in pool.servers):
            yield f"pool {pool.name} refuses every client: all its servers have weight=0"


def _pool(pool: PoolSpec) -> str:
    backups = sum(server.backup for server in pool.servers)
    servers = f"{len(pool.servers)} server{'s' if len(pool.servers) > 1 else ''}"
    check = f"{pool.check.kind} every {show_duration(pool.check.interval)}" if pool.check else "none"
    return f"{servers}{f' ({backups} backup)' if backups else ''}, balance {pool.balance}, check {check}"
