"""Is a value taken for what an operator means by it, and refused with what would be right?"""

from __future__ import annotations

from typing import Any

from proxyd.config.options import (
    Choice,
    Count,
    Duration,
    Flag,
    Form,
    Option,
    Reference,
    Several,
    YesNo,
    parameters,
    show_duration,
    unknown,
    values,
)
from proxyd.config.reader import Entry, Section, Word
from proxyd.errors import Problem
from tests.support.case import Case


def words(text: str, line: int = 1) -> list[Word]:
    return [Word(word, "proxy.ini", line) for word in text.split()]


class FormTests(Case):
    def parse(self, form: Form, text: str) -> Any:
        faults: list[tuple[int, str]] = []
        value = form.parse(words(text), lambda line, why: faults.append((line, why)))
        self.assertEqual(faults, [], text)
        return value

    def refused(self, form: Form, text: str) -> str:
        faults: list[str] = []
        form.parse(words(text), lambda line, why: faults.append(why))
        self.assertEqual(len(faults), 1, text)
        return faults[0]

    def test_durations(self) -> None:
        """A duration is a whole number with a unit, from milliseconds to days."""
        for text, seconds in [
            ("500ms", 0.5), ("5s", 5), ("10m", 600), ("1h", 3600), ("2d", 172800), ("365d", 31536000),
        ]:  # fmt: skip
            self.assertEqual(self.parse(Duration(), text), seconds)

    def test_durations_refused(self) -> None:
        """A number without a unit is refused, with the likely unit; so is whatever is no duration."""
        self.assertEqual(self.refused(Duration(), "600"), '"600" has no unit; for seconds write "600s"')
        for text in (
            "5k",
            "10M",
            "5/s",
            "1.5s",
            "-1s",
            "s",
            "1h30m",
            "five",
            "5sec",
            "9999999999s",
            "٣s",
            '""',
        ):
            self.assertIn(
                "is not a duration; write a whole number and ms, s, m, h or d", self.refused(Duration(), text)
            )
        self.assertIn("must be more than 0", self.refused(Duration(), "0s"))
        self.assertIn("the longest is 365d", self.refused(Duration(), "366d"))

    def test_zero_where_it_has_a_meaning(self) -> None:
        """Where it means "at once", a duration may be zero."""
        self.assertEqual(self.parse(Duration(may_be_zero=True), "0s"), 0)

    def test_durations_shown(self) -> None:
        """A duration is shown in the largest unit that is exact, and reads back as what it was."""
        for text in ("500ms", "1500ms", "5s", "90s", "10m", "1h", "36h", "2d"):
            self.assertEqual(show_duration(self.parse(Duration(), text)), text)
        self.assertEqual(show_duration(0), "0ms")

    def test_counts(self) -> None:
        """A number is within its bounds and plain: no sign, no fraction, no unit, no other digits."""
        for text in ("0", "7", "256"):
            self.assertEqual(self.parse(Count(0, 256), text), int(text))
        for text in ("257", "-1", "+1", "1.0", "10k", "0x10", "many", "1_0", "٣", "1" * 5000):
            self.assertIn("is not a whole number, 0 to 256", self.refused(Count(0, 256), text))

    def test_yes_and_no(self) -> None:
        """Yes and no may be written in the usual ways, and in no other."""
        for text in ("yes", "on", "true"):
            self.assertIs(self.parse(YesNo(), text), True)
        for text in ("no", "off", "false"):
            self.assertIs(self.parse(YesNo(), text), False)
        self.assertEqual(self.refused(YesNo(), "maybe"), '"maybe" is neither yes nor no')

    def test_choices(self) -> None:
        """One of the known words is taken; another is answered with the nearest or with all."""
        form = Choice(("roundrobin", "random"))
        self.assertEqual(self.parse(form, "random"), "random")
        self.assertEqual(
            self.refused(form, "roundrobbin"), '"roundrobbin" is not known; did you mean "roundrobin"?'
        )
        self.assertEqual(self.refused(form, "xyz"), '"xyz" is not known; known here: roundrobin, random')

    def test_references(self) -> None:
        """What a section is called by can be named; what no section can be called cannot."""
        self.assertEqual(self.parse(Reference("pool"), "a-b.c_1"), "a-b.c_1")
        self.assertIn("is not a name", self.refused(Reference("pool"), "a/b"))

    def test_several(self) -> None:
        """Several values are taken in their order; each that is wrong, or there already, is named."""
        self.assertEqual(self.parse(Several(Duration()), "5s"), (5,))
        self.assertEqual(self.parse(Several(Duration()), "5s 1m 3s"), (5, 60, 3))
        self.assertEqual(self.refused(Several(Duration()), "60s 1m"), '"1m" is given twice')
        self.assertIn("has no unit", self.refused(Several(Duration()), "5s 5"))

    def test_one_value(self) -> None:
        """Of two values the second is refused, not passed over."""
        self.assertEqual(self.refused(Count(0, 9), "1 2"), 'takes one value, and "2" is a second')

    def test_shapes(self) -> None:
        """The reference says in words what may be written."""
        self.assertEqual(Choice(("a",)).shape, "`a`")
        self.assertEqual(Choice(("a", "b", "c")).shape, "`a`, `b` or `c`")
        self.assertEqual(Count(1, 9).shape, "a whole number, 1 to 9")

    def test_unknown_names(self) -> None:
        """A message does not list hundreds of names, and a wrong name is not compared with thousands."""
        self.assertEqual(unknown("x", []), '"x" is not known; there is none')
        self.assertTrue(unknown("x", [f"pool{n}" for n in range(500)]).endswith("pool10, pool11, ..."))
        many = [f"pool{n}" for n in range(5000)]
        self.assertIn('did you mean "pool999"', unknown("pool999x", many))
        self.assertNotIn('did you mean "pool4321"', unknown("pool4321x", many))
        self.assertNotIn("did you mean", unknown("pool1x", many, guess=False))


PARAMETERS = (
    Option("weight", Count(0, 256), "", "weight=2"),
    Option("timeout", Duration(), "", "timeout=2s"),
    Option("backup", Flag(), "", "backup"),
)


class ParameterTests(Case):
    def parse(self, text: str) -> tuple[Any, list[str]]:
        faults: list[str] = []
        return parameters(words(text), PARAMETERS, lambda line, why: faults.append(why)), faults

    def test_in_any_order(self) -> None:
        """Parameters may stand in any order, or not at all."""
        self.assertEqual(
            self.parse("backup timeout=1s weight=3"), ({"backup": True, "timeout": 1.0, "weight": 3}, [])
        )
        self.assertEqual(self.parse(""), ({}, []))

    def test_every_fault_is_named(self) -> None:
        """Each wrong parameter is named, not only the first."""
        self.assertEqual(
            self.parse("wieght=2 weight=x timeout= backup=yes backup spare"),
            (
                None,
                [
                    '"wieght" is not known; did you mean "weight"?',
                    'weight: "x" is not a whole number, 0 to 256',
                    "timeout has no value; write timeout=2s, for example",
                    "backup takes no value; write backup alone",
                    "backup is given twice",
                    '"spare" is not known; known here: weight, timeout, backup',
                ],
            ),
        )

    def test_flag_word_with_a_value_word(self) -> None:
        """A parameter without its value is refused with an example."""
        self.assertEqual(self.parse("weight")[1], ["weight has no value; write weight=2, for example"])


OPTIONS = (
    Option("size", Count(1, 9), "", "size = 2", required=True),
    Option("server", Count(1, 9), "", "server a = 1", required=True, named=True),
)


class ValuesTests(Case):
    def parse(self, *entries: Entry) -> tuple[dict[str, Any], list[str]]:
        problems: list[Problem] = []
        found = values(Section("f.ini", 1, "pool", "p", list(entries)), OPTIONS, problems)
        return found, [str(problem) for problem in problems]

    def test_values_by_name(self) -> None:
        """A named option is given once for each name, and keeps their order."""
        self.assertEqual(
            self.parse(
                Entry("server", 2, "b", words("1")),
                Entry("size", 3, "", words("5")),
                Entry("server", 4, "a", words("2")),
            ),
            ({"size": 5, "server": {"b": 1, "a": 2}}, []),
        )

    def test_problems(self) -> None:
        """What is missing, twice, unknown, unnamed or wrongly named is reported, each at its line."""
        self.assertEqual(
            self.parse(
                Entry("server", 2, "a", words("1", 2)),
                Entry("server", 3, "a", words("2", 3)),
                Entry("server", 4, "", words("1", 4)),
                Entry("server", 5, "ä", words("1", 5)),
                Entry("server", 6, "c", words("99", 6)),
                Entry("sizee", 7, "", words("1", 7)),
                Entry("server", 8, "d", []),
            )[1],
            [
                "f.ini:3: [pool p] server a: is given twice; the first is in line 2",
                "f.ini:4: [pool p] server: needs a name; write server a = 1, for example",
                'f.ini:5: [pool p] server ä: "ä" is not a name; names are letters, digits, and any of _ . -',
                'f.ini:6: [pool p] server c: "99" is not a whole number, 1 to 9',
                'f.ini:7: [pool p] "sizee" is not known; did you mean "size"?',
                "f.ini:8: [pool p] server d: has no value; write server a = 1, for example",
                "f.ini:1: [pool p] size: is missing; write size = 2, for example",
            ],
        )

    def test_name_where_none_belongs(self) -> None:
        """A second word before the = is refused where the option takes no name."""
        self.assertIn(
            "f.ini:2: [pool p] size x: has a second word before the =; write size = 2, for example",
            self.parse(Entry("size", 2, "x", words("1")))[1],
        )

    def test_what_the_reader_reported_is_not_reported_again(self) -> None:
        """A value that could not be read is one problem, not two."""
        found, problems = self.parse(Entry("size", 2, whole=False), Entry("server", 3, "a", words("1")))
        self.assertEqual((found, problems), ({"server": {"a": 1}}, []))
