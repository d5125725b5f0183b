"""How would one tell a colleague, in a few lines, what a configuration does?"""

from __future__ import annotations

from proxyd.config.document import Config
from proxyd.config.options import show_duration
from proxyd.config.pool import PoolSpec


def summary(config: Config) -> str:
    """A line for each listener, each pool and each thing beside them that is served or written."""
    used = {listener.pool for listener in config.listeners}
    lines = []
    for listener in config.listeners:
        binds = " ".join(bind.text for bind in listener.binds)
        lines.append(f"listener {listener.name}: {listener.protocol} on {binds}, to pool {listener.pool}")
    for pool in config.pools:
        unused = "" if pool.name in used else "; no listener uses it"
        lines.append(f"pool {pool.name}: {_pool(pool)}{unused}")
    if config.demo:
        for server in config.demo.servers:
            lines.append(f"demo server {server.name}: on {server.bind.text}")
    if config.daemon.metrics:
        lines.append(f"metrics: on {config.daemon.metrics.text}")
    if config.daemon.access_log:
        log = config.daemon.access_log
        lines.append(f"access log: {log.path or 'the log of twistd'}, as {log.format}")
    return "\n".join(lines)


def _pool(pool: PoolSpec) -> str:
    backups = sum(server.backup for server in pool.servers)
    servers = f"{len(pool.servers)} server{'s' if len(pool.servers) > 1 else ''}"
    check = f"{pool.check.kind} every {show_duration(pool.check.interval)}" if pool.check else "none"
    return f"{servers}{f' ({backups} backup)' if backups else ''}, balance {pool.balance}, check {check}"
