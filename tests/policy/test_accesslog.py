"""Is what the access log says of a connection read as it was written?"""

from __future__ import annotations

import json
import random
from typing import Any, Callable

from proxyd.ops.accesslog import json_line, text_line
from proxyd.ops.words import moment
from proxyd.policy.accesslog import LONGEST_LINE, Logged, epoch_seconds, read_line
from proxyd.policy.arrival import Arrival
from proxyd.records import Record
from tests.ops.records import record, refused
from tests.support.case import Case

WRITERS: tuple[Callable[[Record], str], ...] = (text_line, json_line)


def known(line: str) -> Logged:
    """What a line that can be read says."""
    found = read_line(line)
    assert found is not None, line
    return found


class ReadLine(Case):
    """One line."""

    def test_ordinary(self) -> None:
        """Both formats say the same of a connection."""
        for write in WRITERS:
            self.assertEqual(
                read_line(write(record(sni="example.com"))),
                Logged(
                    1795341600.123, 1.204113, 0.000312, 517, 20480,
                    "10.0.0.9:40312", "example.com", "web", "web", "a",
                ),
            )  # fmt: skip

    def test_unknown(self) -> None:
        """One that reached no server had no connect, and what is unknown is empty."""
        for write in WRITERS:
            found = known(write(refused(pool="")))
            self.assertEqual((found.connect, found.pool, found.server, found.sni), (-1.0, "", "", ""))

    def test_in_the_log_of_twistd(self) -> None:
        """Behind what twistd begins its lines with, a line is found."""
        line = text_line(record())
        prefix = "2026-11-22T10:00:02+0000 [proxyd.ops.accesslog.AccessLog#info] "
        self.assertEqual(read_line(prefix + line), read_line(line))

    def test_any_words(self) -> None:
        """Whatever is in a value, it comes back as it was."""
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        for _ in range(300):
            text = "".join(chr(chance.choice((9, 10, 32, 34, 45, 61, 92, 97, 127, 8232))) for _ in range(4))
            told = record(sni=text, server=text, pool=text, detail=text)
            for write in WRITERS:
                found = known(write(told))
                self.assertEqual((found.sni, found.server, found.pool), (text, text, text), f"seed {seed}")

    def test_forged(self) -> None:
        """What another program's text says about fields does not count."""
        for write in WRITERS:
            for name in ("client", "detail", "sni"):
                told: dict[str, Any] = {name: 'x" total=9 in=9 server=z'}
                found = known(write(record(**told)))
                self.assertEqual((found.seconds, found.bytes_in, found.server), (1.204113, 517, "a"))

    def test_queue(self) -> None:
        """The time that a client has waited for a server is none that it has held one."""
        for write in WRITERS:
            self.assertEqual(known(write(record(queue_seconds=0.2))).seconds, 1.204113 - 0.2)
            self.assertEqual(known(write(record(queue_seconds=2.0))).seconds, 0.0)

    def test_fields_that_may_come(self) -> None:
        """A field that is not known yet is passed over."""
        line = text_line(record())
        self.assertEqual(read_line(line.replace(" connect=", ' shape="a b" connect=')), read_line(line))

    def test_not_ours(self) -> None:
        """A line that is none of an access log, or is cut off, is not read and breaks nothing."""
        text, spoken = text_line(record()), json_line(record())
        for line in (
            "",
            "\n",
            "2026-11-22T10:00:00+0000 [-] proxyd 0.1.0: 1 listener",
            '127.0.0.1 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5',
            "2026-13-22T10:00:00.000Z listener=web client=x",
            text[: len(text) // 2],
            text.replace("total=1.204113", "total=-1.0"),
            text.replace("total=1.204113", "total=nan"),
            text.replace("queue=-", "queue=-1"),
            text.replace("in=517", "in=-1"),
            text.replace("in=517", "in=many"),
            spoken[: len(spoken) // 2],
            spoken.replace('"web"', "7"),
            spoken.replace('"2026-11-22T10:00:00.123Z"', "null"),
            spoken.replace("1.204113", "1e999"),
            "{}",
            "[" * 100_000,
            '{"started":' + "[" * (LONGEST_LINE // 2),
            text + "x" * LONGEST_LINE,
        ):
            self.assertIsNone(read_line(line), line[:200])

    def test_longest(self) -> None:
        """The longest line that is written is read."""
        worst = "\U0001f600" * 1000
        names = ("listener", "client", "pool", "server", "server_address", "detail", "via", "sni", "route")
        told = record(**dict.fromkeys((*names, "unique_id"), worst))
        for write in WRITERS:
            self.assertEqual(known(write(told)).server, worst[:500])


class TheClient(Case):
    """Who came."""

    def test_addresses(self) -> None:
        """An address of either kind has its port behind it; a unix socket's client has none."""
        for client, expected in (
            ("10.0.0.9:40312", Arrival("10.0.0.9", 40312, "n")),
            ("[2001:db8::1]:5432", Arrival("2001:db8::1", 5432, "n")),
            ("unix:/run/x:1", Arrival(sni="n")),
            ("", Arrival(sni="n")),
            ("10.0.0.9", Arrival("", 0, "n")),
        ):
            self.assertEqual(known(text_line(record(client=client, sni="n"))).arrival(), expected, client)


class EpochSeconds(Case):
    """The time of a line."""

    def test_as_written(self) -> None:
        """Every time that is written is read, to the millisecond."""
        for epoch in (
            0,
            1,
            951_782_399,
            951_782_400,
            951_868_799,
            1_709_164_800,
            4_107_542_400,
            253402300799,
        ):
            for milliseconds in (0, 1, 999):
                seconds = epoch + milliseconds / 1000
                text = moment(seconds)
                assert text is not None
                self.assertEqual(epoch_seconds(text), seconds, text)

    def test_each_day(self) -> None:
        """So is every day of four hundred years."""
        for day in range(0, 146_097, 7):
            text = moment(day * 86_400)
            assert text is not None
            self.assertEqual(epoch_seconds(text), day * 86_400, text)

    def test_no_time(self) -> None:
        """What no calendar has is no time."""
        for text in ("", "-", "2026-11-22T10:00:00Z", "2026-00-22T10:00:00.000Z", "2026-11-22T24:00:00.000Z"):
            self.assertIsNone(epoch_seconds(text), text)
        self.assertIsNone(epoch_seconds(json.loads('"2026-11-22T10:00:00.1234Z"')))
