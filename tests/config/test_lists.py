"""Are allow, deny and lists taken for what an operator means by them, and their files for what is in them?"""

from __future__ import annotations

import os
from ipaddress import ip_network
from random import Random

from proxyd.config.lists import (
    MAPPED,
    MAX_PROBLEMS,
    Clients,
    Rule,
    read_slices,
    record_in,
    record_of,
    rest_allowed,
)
from proxyd.config.words import Invalid
from proxyd.errors import Problem
from tests.config.ini import LISTENER, POOL, IniCase

NET = ip_network("10.0.0.0/8")


class AccessTests(IniCase):
    def access(self, listener: str, proxyd: str = "") -> tuple[Rule, ...]:
        return self.load(f"[proxyd]\n{proxyd}\n{LISTENER}{listener}\n{POOL}").listeners[0].access

    def test_order(self) -> None:
        """Lines keep the order in which they are written, whichever of the two options they are."""
        found = self.access("deny = 10.0.0.0/8\nallow = 10.0.0.0/8 unix\ndeny = all\n")
        self.assertEqual(
            found,
            (
                Rule(False, Clients((NET,))),
                Rule(True, Clients((NET,), unix=True)),
                Rule(False, Clients(everybody=True)),
            ),
        )

    def test_default(self) -> None:
        """Lines of [proxyd] are for listeners that have none; one that has any goes by its own alone."""
        daemon = "allow = 10.0.0.0/8\ndeny = all"
        self.assertEqual(len(self.access("", daemon)), 2)
        self.assertEqual(self.access("deny = unix", daemon), (Rule(False, Clients(unix=True)),))
        self.assertEqual(self.access(""), ())

    def test_rest(self) -> None:
        """Whom no line names gets the opposite of the last line; without lines everybody is let in."""
        allow, deny = Rule(True, Clients((NET,))), Rule(False, Clients((NET,)))
        for rules, allowed in [
            ((), True),
            ((allow,), False),
            ((deny,), True),
            ((deny, allow), False),
            ((allow, deny), True),
        ]:
            self.assertEqual(rest_allowed(rules), allowed)

    def test_file(self) -> None:
        """A file's path is relative to the ini file that names it, and is not opened yet."""
        [rule] = self.access("deny = file:lists/bad.txt")
        self.assertEqual(rule.clients, Clients(paths=(os.path.join(self.folder, "lists", "bad.txt"),)))


class FileTests(IniCase):
    def records(self, content: bytes) -> tuple[list[bytes], list[str]]:
        path, problems = self.write(content, "list.txt"), list[Problem]()
        found = [record for records in read_slices(path, problems) for record in records]
        return found, [self.local(str(problem)) for problem in problems]

    def test_lines(self) -> None:
        """A line is a network, an address, a comment or nothing, whatever blanks and line ends are around."""
        for line, network in [
            (b"10.0.0.0/8", "10.0.0.0/8"),
            (b" 192.0.2.7\r", "192.0.2.7/32"),
            (b"1.10.16.0/20 ; SBL256894", "1.10.16.0/20"),
            (b"192.0.2.255#x", "192.0.2.255/32"),
            (b"0.0.0.0/0", "0.0.0.0/0"),
            (b"2001:DB8::/32\t# six", "2001:db8::/32"),
            (b"::1", "::1/128"),
        ]:
            self.assertEqual(record_in(line), record_of(ip_network(network)), line)
        for line in (b"", b"  ", b"# 10.0.0.0/8", b" ;10.0.0.0/8", b"\r"):
            self.assertEqual(record_in(line), b"")

    def test_as_ipaddress(self) -> None:
        """Whatever is on a line, it is taken for what Python's own `ipaddress` takes it for."""
        dice, taken = Random(11), 0
        for _ in range(20_000):
            if dice.random() < 0.7:
                groups = ["0", "1", "ffff", "1:2", "::", ":", "2001", "db8", "12345", "g"]
                parts = [dice.choice(groups) for _ in range(5)]
                text = dice.choice([":", ""]).join(parts)
                text += dice.choice(["", "/64", "/0", "/128", "/129", "/3"])
            else:
                octets = ["0", "1", "255", "256", "01", "10"]
                parts = [dice.choice(octets) for _ in range(dice.choice((4, 4, 3)))]
                text = ".".join(parts) + dice.choice(["", "/32", "/8", "/0", "/33", "/032"])
            try:
                expected = record_of(ip_network(text))
            except ValueError:
                expected = MAPPED
            if expected.startswith(MAPPED):
                self.assertRaises(Invalid, record_in, text.encode())
            else:
                self.assertEqual(record_in(text.encode()), expected, text)
                taken += 1
        self.assertGreater(taken, 300)

    def test_wrong_lines(self) -> None:
        """What is no network is refused: bits behind the prefix, octal, too much, two on a line, no text."""
        for line in (
            b"10.0.0.1/8", b"10.0.0.010", b"256.0.0.1", b"1.2.3.4/33", b"10.0.0.0/255.0.0.0", b"1.2.3",
            b"1.2.3.4 1.2.3.5", b"::ffff:1.2.3.4", b"example.com", b"\xff\xfe1", b"1.2.3.4/-1", b"::1/129",
        ):  # fmt: skip
            self.assertRaises(Invalid, record_in, line)

    def test_reads_all(self) -> None:
        """However long, a file is read to its end, with a line end behind its last line or without."""
        networks = [ip_network((n << 8, 24)) for n in range(5000)]
        text = "\n".join(map(str, networks)).encode()
        for content in (text, text + b"\n"):
            self.assertEqual(self.records(content), ([*map(record_of, networks)], []))
        self.assertEqual(self.records(b""), ([], []))

    def test_problems(self) -> None:
        """Wrong lines are told with file and line, but not without end."""
        found, problems = self.records(b"10.0.0.0/8\n# x\nten\n192.0.2.0/24\n10.0.0.1/8\n")
        self.assertEqual(len(found), 2)
        self.assertEqual(
            problems,
            [
                'list.txt:3: "ten" is neither a network nor an address; write 10.0.0.0/8, for example',
                'list.txt:5: "10.0.0.1/8" has bits set behind its /8; write 10.0.0.0/8 for the network, '
                "10.0.0.1 for the one address",
            ],
        )
        _, problems = self.records(b"nobody\n" * 100_000)
        self.assertEqual(len(problems), MAX_PROBLEMS + 1)
        self.assertEqual(problems[-1], "list.txt: is not read any further")

    def test_no_list(self) -> None:
        """What is no list of networks at all is not read through."""
        _, problems = self.records(b"10.0.0.0/8\n" + b"x" * 1_000_000)
        self.assertEqual(
            problems, ["list.txt:2: is longer than 1000 letters, so this is hardly a list of networks"]
        )
        for path, why in [
            (self.folder, "is a folder, not a file"),
            (os.path.join(self.folder, "gone"), "cannot be read: No such file or directory"),
            ("/dev/null", "is not a regular file"),
            ("a\0b", "cannot be read: embedded null byte"),
        ]:
            wrong = list[Problem]()
            self.assertEqual(list(read_slices(path, wrong)), [])
            self.assertEqual(wrong, [Problem(path, 0, why)])
