"""What did the operator ask of a route?  The ``[route NAME]`` section."""

from __future__ import annotations

from attrs import frozen

SPEAKS = ("tls", "http", "ssh", "postgresql", "silent", "other")


@frozen
class RouteSpec:
    """
    One ``[route]``: clients of these listeners for whom all conditions hold are led to this pool.

    A condition that is empty was not given, and holds always; at least one is given.  ``sni`` are names in
    lower case, ``*.`` and a name, or ``*``; ``alpn`` are protocols as they stand in a ClientHello.
    """

    name: str
    listeners: tuple[str, ...]
    pool: str
    sni: tuple[str, ...] = ()
    alpn: tuple[bytes, ...] = ()
    speaks: tuple[str, ...] = ()
