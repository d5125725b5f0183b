"""What does a client of a plain TCP listener get?  Its bytes go to a server of the listener's pool."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Sequence

from proxyd.config.listener import ListenerSpec
from proxyd.interfaces import IDatapath, IObserver
from proxyd.policy.admission import Admission
from proxyd.policy.pool import Pool
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.factory import ProxyFactory
from proxyd.relay.tally import Tally
from proxyd.relay.tls.server import ServerTls


def tcp_frontend(
    spec: ListenerSpec,
    pools: Mapping[str, Pool],
    datapath: IDatapath,
    wheel: Wheel,
    seconds: Callable[[], float],
    capacity: Capacity,
    observers: Sequence[IObserver],
    admission: Admission,
    tally: Optional[Tally] = None,
    server_tls: Optional[ServerTls] = None,
) -> ProxyFactory:
    """The factory behind a listener with ``protocol = tcp``."""
    return ProxyFactory(
        spec, pools, datapath, wheel, seconds, capacity, observers, admission, tally, server_tls
    )
