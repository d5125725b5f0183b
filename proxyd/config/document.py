"""What did the operator ask for, all in all?  The whole configuration as one frozen value."""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.config.daemon import DaemonSpec
from proxyd.config.demo import DemoSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec


@frozen
class Config:
    """A configuration without errors: every reference in it leads somewhere."""

    daemon: DaemonSpec
    listeners: tuple[ListenerSpec, ...]
    pools: tuple[PoolSpec, ...]
    demo: Optional[DemoSpec] = None
    files: tuple[str, ...] = ()
