"""Is ``[acme]`` taken for what an operator means by it?  What is wrong is in golden/wrong_acme.txt."""

from __future__ import annotations

from proxyd.config.acme import MOST_NAMES, AcmeSpec
from tests.config.ini import MINIMAL, IniCase

STATE = "[proxyd]\nstate = state\n"
ACME = "[acme le]\ndirectory = https://ca.example/dir\nagree_to_terms = yes\n"


class AcmeTests(IniCase):
    def acme(self, text: str) -> AcmeSpec:
        [found] = self.load(STATE + ACME + text + MINIMAL).acme
        return found

    def test_names(self) -> None:
        """Names are of hosts, in small letters, and not too many."""
        [certificate] = self.acme(
            "certificate w = WWW.Example.com xn--bcher-kva.example\nbind = tcp:81\n"
        ).certificates
        self.assertEqual(certificate.names, ("www.example.com", "xn--bcher-kva.example"))
        names = " ".join(f"a{number}.example" for number in range(MOST_NAMES + 1))
        text = f"{STATE}{ACME}certificate w = {names}\nbind = tcp:81\n{MINIMAL}"
        self.assertEqual(
            self.problems(text), ["proxy.ini:6: [acme le] certificate w: takes 100 names at most"]
        )

    def test_directories(self) -> None:
        """A directory is where https leads, and nothing else."""
        for url in ("https://[::1]:14000/dir", "https://ca.example", "https://10.0.0.1:8443/a?b=c"):
            text = ACME.replace("https://ca.example/dir", url)
            spec = self.load(f"{STATE}{text}certificate w = a.example\nbind = tcp:81\n{MINIMAL}").acme[0]
            self.assertEqual(spec.directory, url)
        for url in (
            "https://",
            "https://ca.example:0/",
            "https://ca.example:x/",
            "ftp://ca.example/",
            "https://[::1",
        ):
            text = ACME.replace("https://ca.example/dir", url)
            [problem] = self.problems(f"{STATE}{text}certificate w = a.example\nbind = tcp:81\n{MINIMAL}")
            self.assertIn("is not an https URL", problem)

    def test_places(self) -> None:
        """No two answer at the same address, a listener and an authority neither."""
        text = f"{STATE}{ACME}certificate w = a.example\nbind = tcp:80\n{MINIMAL}"
        self.assertEqual(
            self.problems(text),
            ['proxy.ini:9: [listener l] bind: "tcp:80" is bound twice; the first is in proxy.ini:7'],
        )
