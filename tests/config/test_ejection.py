"""Can passive ejection be asked for, and is what makes no sense refused?"""

from __future__ import annotations

from proxyd.config.ejection import EjectSpec
from tests.config.ini import MINIMAL, IniCase

GIVEN = [
    ("off", None),
    ("5", EjectSpec()),
    ("3 time=10s max_time=1m most=30%", EjectSpec(3, 10.0, 60.0, 30)),
    ("1 time=10m", EjectSpec(1, 600.0, 600.0)),
    ("1000 most=100%", EjectSpec(1000, most=100)),
    ("5 statuses=500,502 trial", EjectSpec(statuses=frozenset((500, 502)), trial=True)),
    ("5 statuses=5xx", EjectSpec(statuses=frozenset(range(500, 600)))),
    ("5 share=50% window=1m least=100", EjectSpec(share=50, window=60.0, least=100)),
]

REFUSED = [
    ("of", 'begins with how many in a row, or is off: "of" is not a whole number, 1 to 1000'),
    ("0", 'begins with how many in a row, or is off: "0" is not a whole number, 1 to 1000'),
    ("off time=3s", "off stands alone"),
    ("5 most=50", 'most: "50" is not a whole number and %, 0% to 100%'),
    ("5 most=101%", 'most: "101%" is not a whole number and %, 0% to 100%'),
    ("5 tme=10s", '"tme" is not known; did you mean "time"?'),
    ("5 share=0%", 'share: "0%" is not a whole number and %, 1% to 100%'),
    ("5 window=1m", "window is of share, and there is none"),
    ("5 least=9", "least is of share, and there is none"),
    ("5 statuses=200", 'statuses: "200" is not a status of 400 to 599, 4xx or 5xx'),
    ("5 statuses=500,", 'statuses: "" is not a status of 400 to 599, 4xx or 5xx'),
    ("5 max_time=10s", "max_time must not be shorter than time, 30s"),
]


class EjectionTests(IniCase):
    def test_given(self) -> None:
        """How many in a row, and any of the parameters; the longest time is never shorter than the first."""
        for text, spec in GIVEN:
            self.assertEqual(self.load(f"{MINIMAL}eject = {text}\n").pools[0].eject, spec)
        self.assertEqual(self.load(MINIMAL).pools[0].eject, EjectSpec())

    def test_refused(self) -> None:
        """Anything else is refused."""
        for text, reason in REFUSED:
            self.assertEqual(
                self.problems(f"{MINIMAL}eject = {text}\n"), [f"proxy.ini:6: [pool p] eject: {reason}"]
            )
