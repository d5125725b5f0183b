"""How are the certificates that TLS ends with here?  What the admin socket and the metrics say of them."""

from __future__ import annotations

from typing import Iterator, Optional

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from proxyd.ops.command import Answer, Caller, Command, Given, Steered
from proxyd.snapshots import AcmeSnapshot, Snapshot


def _show(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    wall = steered.wall.now()
    renewals = {one.file: one for one in steered.acme()}
    return {
        "certificates": [
            {
                "listener": one.listener,
                "files": list(one.paths),
                "names": list(one.names),
                "key_type": one.key_type,
                "issuer": one.issuer,
                "expires_in_seconds": round(one.not_after - wall, 3) if one.not_after else None,
                "renewed_in_seconds": _renewed_in(renewals.get(one.paths[0]), wall),
                "staple": one.staple,
                "trouble": "; ".join(filter(None, (one.trouble, _failure(renewals.get(one.paths[0]))))),
            }
            for one in steered.certificates()
        ]
    }


def _renewed_in(renewal: Optional[AcmeSnapshot], wall: float) -> Optional[float]:
    """In how long an authority is asked for another one; None if nobody sees to that."""
    return round(max(0.0, renewal.next_at - wall), 3) if renewal is not None else None


def _failure(renewal: Optional[AcmeSnapshot]) -> str:
    return f"could not be renewed: {renewal.trouble}" if renewal is not None and renewal.trouble else ""


def _show_ocsp(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    wall = steered.wall.now()
    return {
        "ocsp": [
            {
                "file": one.file,
                "url": one.url,
                "holds_for_seconds": round(one.until - wall, 3) if one.until else None,
                "next_in_seconds": round(max(0.0, one.next_at - wall), 3) if one.url else None,
                "fetched": one.fetched,
                "failed": one.failed,
                "trouble": one.trouble,
            }
            for one in steered.ocsp()
        ]
    }


COMMANDS = (
    Command(
        "show certificates",
        "the certificates that TLS ends with here, until when they are valid, and what is wrong",
        _show,
    ),
    Command("show ocsp", "what authorities say of certificates, where they are asked", _show_ocsp),
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
    if snapshot.ocsp:
        yield from _ocsp(snapshot)


def _ocsp(snapshot: Snapshot) -> Iterator[Metric]:
    until = GaugeMetricFamily(
        "proxyd_ocsp_expiry_timestamp_seconds",
        "When the response ends to hold that is sent with the certificate; 0 if there is none.",
        labels=("file",),
    )
    fetches = CounterMetricFamily(
        "proxyd_ocsp_fetches",
        "How often the authority was asked of the certificate.",
        labels=("file", "result"),
    )
    for one in snapshot.ocsp:
        until.add_metric((one.file,), one.until)
        fetches.add_metric((one.file, "ok"), one.fetched)
        fetches.add_metric((one.file, "failed"), one.failed)
    yield from (until, fetches)
