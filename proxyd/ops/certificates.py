"""How are the certificates that TLS ends with here?  What the admin socket and the metrics say of them."""

from __future__ import annotations

from typing import Iterator, Optional

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from proxyd.interfaces import Snapshot
from proxyd.ops.command import Answer, Caller, Command, Given, Steered


def _show(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    now = steered.seconds()
    return {
        "certificates": [
            {
                "listener": one.listener,
                "files": list(one.paths),
                "names": list(one.names),
                "key_type": one.key_type,
                "issuer": one.issuer,
                "expires_in_seconds": round(one.not_after - now, 3) if one.not_after else None,
                "staple": one.staple,
                "trouble": one.trouble,
            }
            for one in steered.certificates()
        ]
    }


COMMANDS = (
    Command(
        "show certificates",
        "the certificates that TLS ends with here, until when they are valid, and what is wrong",
        _show,
    ),
)


def metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """When each certificate expires, and what became of those that have changed."""
    expiry = GaugeMetricFamily(
        "proxyd_certificate_expiry_timestamp_seconds",
        "When the certificate expires, or the first of those that are sent with it.",
        labels=("listener", "file"),
    )
    for one in snapshot.certificates:
        if one.not_after:
            expiry.add_metric((one.listener, one.paths[0]), one.not_after)
    reloads = CounterMetricFamily(
        "proxyd_certificate_reloads",
        "How often files that had changed were read again: taken, or refused since something was wrong.",
        labels=("listener", "result"),
    )
    for each in snapshot.reloads:
        reloads.add_metric((each.listener, "taken"), each.taken)
        reloads.add_metric((each.listener, "refused"), each.refused)
    yield from (expiry, reloads)
