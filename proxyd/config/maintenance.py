"""Which pools turn their clients away, and what are these told?  ``maintenance`` of a pool."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from proxyd.config.errorpage import ErrorPage
from proxyd.config.lists import MAINTENANCE_ALLOW, ClientsForm
from proxyd.config.options import Duration, Option, YesNo

RETRY_AFTER = 300.0  # seconds

OPTIONS = (
    Option(
        "maintenance",
        YesNo(),
        "With `yes`, clients are turned away until an operator says otherwise (`proxyctl enable POOL`, as "
        "`proxyctl disable POOL` begins it at any time): a request is answered 503, with `Retry-After`, and "
        "a connection is refused as its listener `speaks`. What is under way goes on, and so do checks.",
        "maintenance = yes",
        default="no",
    ),
    Option(
        MAINTENANCE_ALLOW,
        ClientsForm(MAINTENANCE_ALLOW),
        "Clients in these networks or lists are served all the same.",
        "maintenance_allow = 10.0.0.0/8 @office",
        otherwise="nobody is",
    ),
    Option(
        "maintenance_retry_after",
        Duration(),
        "In how long clients are told to come again.",
        "maintenance_retry_after = 1h",
        default="5m",
    ),
    Option(
        "maintenance_page",
        ErrorPage(),
        "What clients of HTTP are shown meanwhile, before the `error_page 503` of routes and listeners.",
        "maintenance_page = file:/etc/proxyd/maintenance.html",
        otherwise="what they have for 503",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What says nothing: each an option, and why."""
    if given.get("maintenance_retry_after", 1.0) < 1.0:
        yield "maintenance_retry_after", "is told in whole seconds; the least is 1s"
