"""Is said of certificates what operators want to know?"""

from __future__ import annotations

from proxyd.ops.certificates import COMMANDS, metrics
from proxyd.ops.command import Steered
from proxyd.snapshots import AcmeSnapshot, CertificateSnapshot, OcspSnapshot, ReloadSnapshot, Snapshot
from tests.support.case import Case
from tests.support.walltime import SetTime

AT = SetTime(lambda: 3600.0)

GOOD = CertificateSnapshot(
    "front", ("/c/a.crt", "/c/a.key"), ("a.example",), "RSA", "Root", 90_000.0, "until 1970-01-01"
)
BAD = CertificateSnapshot("front", ("/c/b.crt",), trouble="has no private key")


class CertificatesTests(Case):
    def test_show(self) -> None:
        """Each has its files, its names, and how long it is valid; one that cannot be had has a trouble."""
        steered = Steered({}, AT.now, AT, certificates=lambda: (GOOD, BAD))
        command = COMMANDS[0]
        first, second = command.run(steered, {}, None)["certificates"]
        self.assertEqual(
            first,
            {
                "listener": "front",
                "files": ["/c/a.crt", "/c/a.key"],
                "names": ["a.example"],
                "key_type": "RSA",
                "issuer": "Root",
                "expires_in_seconds": 86400.0,
                "renewed_in_seconds": None,
                "staple": "until 1970-01-01",
                "trouble": "",
            },
        )
        self.assertEqual((second["expires_in_seconds"], second["trouble"]), (None, "has no private key"))

    def test_renewed_by_an_authority(self) -> None:
        """Of one that an authority gives out, when it is renewed, and why it was not."""
        names = ("a.example",)
        acme = AcmeSnapshot("le", "a", "/c/a.crt", names, 90_000.0, 7200.0, 1, 2, 2, "nobody is there")
        steered = Steered(
            {},
            AT.now,
            AT,
            certificates=lambda: (GOOD, BAD),
            acme=lambda: (acme,),
        )
        first, second = COMMANDS[0].run(steered, {}, None)["certificates"]
        self.assertEqual(
            (first["renewed_in_seconds"], first["trouble"]), (3600.0, "could not be renewed: nobody is there")
        )
        self.assertEqual((second["renewed_in_seconds"], second["trouble"]), (None, "has no private key"))

    def test_ocsp(self) -> None:
        """Of each certificate that is asked for: for how long the answer holds, and what went wrong."""
        good = OcspSnapshot("/c/a.crt", "http://ocsp.example/", 90_000.0, 45_000.0, 3, 1, "")
        none = OcspSnapshot("/c/b.crt", "", 0.0, 0.0, 0, 0, "names nobody who could be asked")
        steered = Steered({}, AT.now, AT, ocsp=lambda: (good, none))
        first, second = COMMANDS[1].run(steered, {}, None)["ocsp"]
        self.assertEqual(
            first,
            {
                "file": "/c/a.crt",
                "url": "http://ocsp.example/",
                "holds_for_seconds": 86400.0,
                "next_in_seconds": 41400.0,
                "fetched": 3,
                "failed": 1,
                "trouble": "",
            },
        )
        self.assertEqual((second["holds_for_seconds"], second["next_in_seconds"]), (None, None))
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in metrics(Snapshot((), (), ocsp=(good,)))
            for sample in family.samples
        }
        self.assertEqual(
            found,
            {
                ("proxyd_ocsp_expiry_timestamp_seconds", "/c/a.crt"): 90_000.0,
                ("proxyd_ocsp_fetches_total", "/c/a.crt", "ok"): 3,
                ("proxyd_ocsp_fetches_total", "/c/a.crt", "failed"): 1,
            },
        )

    def test_metrics(self) -> None:
        """When each expires, and how often they were read again, are numbers."""
        snapshot = Snapshot((), (), certificates=(GOOD, BAD), reloads=(ReloadSnapshot("front", 3, 1),))
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in metrics(snapshot)
            for sample in family.samples
        }
        self.assertEqual(
            found,
            {
                ("proxyd_certificate_expiry_timestamp_seconds", "front", "/c/a.crt"): 90_000.0,
                ("proxyd_certificate_reloads_total", "front", "taken"): 3,
                ("proxyd_certificate_reloads_total", "front", "refused"): 1,
            },
        )
