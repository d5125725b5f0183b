"""Which server answered?  A small web server that says its name, for trying out a configuration."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Site

from proxyd.ops.pages import Page, QuietSite


def demo_site(name: str, reactor: IReactorTime) -> Site:
    """A site that answers every GET, whatever the path, with ``Hello from demo server NAME``."""
    return QuietSite(Page(f"Hello from demo server {name}\n"), reactor)
