"""What did the operator ask of a cache?  The ``[cache NAME]`` section."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Iterator, Mapping

from attrs import frozen

from proxyd.config.address import Folder
from proxyd.config.bandwidth import Size
from proxyd.config.options import Choice, Duration, OneWord, Option, Percent, Several, Text, YesNo
from proxyd.config.proxyprotocol import Network, NetworkForm
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

KEEP, SORT, DROP = "keep", "sort", "drop"

OFF = "off"  # of a route that has nothing stored

_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)
_STATUS = re.compile(r"[2-5][0-9][0-9]", re.ASCII)


@frozen
class CacheSpec:
    """
    One ``[cache]``: sizes in bytes, times in seconds.

    ``heuristic`` is in percent.  ``targeted`` are names of fields in lower case.  ``negative`` are statuses,
    each with a time.
    """

    name: str
    size: int = 64 * 1024 * 1024
    max_object: int = 1024 * 1024
    heuristic: int = 0
    targeted: tuple[str, ...] = ()
    negative: tuple[tuple[int, float], ...] = ()
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    request_directives: bool = True
    ignore_set_cookie: bool = False
    query: str = KEEP
    ignore_parameters: tuple[str, ...] = ()
    lock_timeout: float = 5.0
    status_header: bool = True
    purge: tuple[Network, ...] = ()
    path: str = ""
    disk_size: int = 1024 * 1024 * 1024
    disk_index: int = 64 * 1024 * 1024


@frozen
class FieldName(OneWord):
    """The name of a field."""

    shape: ClassVar[str] = "the name of a field"

    def read(self, word: Word) -> str:
        if not _FIELD.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not the name of a field")
        return word.text.lower()


@frozen
class StatusFor(OneWord):
    """A status, and for how long an answer with it is good."""

    shape: ClassVar[str] = "a status and a time, such as `404=10s`"

    def read(self, word: Word) -> tuple[int, float]:
        status, equals, text = word.text.partition("=")
        if not _STATUS.fullmatch(status) or not equals:
            raise Invalid(f"{quoted(word.text)} is not {self.shape}")
        if status in ("206", "304"):
            raise Invalid(f"{status} is of no use alone, and never stored")
        return int(status), Duration().read(Word(text, word.path, word.line))


OPTIONS = (
    Option(
        "size",
        Size(),
        "So much memory is used for answers, their heads and what is needed to find them included. What has "
        "not been asked for again goes first.",
        "size = 512M",
        default="64M",
    ),
    Option(
        "max_object",
        Size(),
        "A longer answer is not stored, but passed on as it comes. With a `path` this may be more than "
        "`size`: what is longer than an eighth of that is written to the disk while it comes, and given from "
        "there.",
        "max_object = 10M",
        default="1M",
    ),
    Option(
        "heuristic",
        Percent(),
        "For how long an answer is good that has a Last-Modified and does not say: so many percent of the "
        "time since then, and a day at most (RFC 9111, 4.2.2). By default such an answer is not stored.",
        "heuristic = 10%",
        default="0%",
    ),
    Option(
        "targeted",
        Several(FieldName()),
        "Fields that tell this cache what Cache-Control tells others (RFC 9213); the first that is there "
        "counts alone.",
        "targeted = Proxyd-Cache-Control CDN-Cache-Control",
        otherwise="Cache-Control and Expires count",
    ),
    Option(
        "negative",
        Several(StatusFor()),
        "For how long answers with a status are good that do not say.",
        "negative = 404=10s 301=1h",
        otherwise="they are not stored",
    ),
    Option(
        "stale_while_revalidate",
        Duration(may_be_zero=True),
        "For so long an answer is used when it is stale, while its server is asked for a new one, if it does "
        "not say for how long itself (RFC 5861).",
        "stale_while_revalidate = 30s",
        default="0s",
    ),
    Option(
        "stale_if_error",
        Duration(may_be_zero=True),
        "For so long an answer is used when it is stale and no server can be had, or says 500, 502, 503 or "
        "504, if it does not say for how long itself (RFC 5861).",
        "stale_if_error = 1h",
        default="0s",
    ),
    Option(
        "request_directives",
        YesNo(),
        "Whether clients may say with Cache-Control and Pragma what they take: `no-cache`, `max-age`, "
        "`only-if-cached` and so on (RFC 9111, 5.2.1). With `no` they cannot have servers asked that need "
        "not be; nginx and Varnish do not heed them.",
        "request_directives = no",
        default="yes",
    ),
    Option(
        "ignore_set_cookie",
        YesNo(),
        "An answer that sets cookies is stored all the same: who has asked for it gets them, and all others "
        "the answer without them, as with Set-Cookie in `proxy_ignore_headers` and `proxy_hide_header` of "
        "nginx. By default it is stored only if it says itself that these are for one alone: "
        '`private="Set-Cookie"`.',
        "ignore_set_cookie = yes",
        default="no",
    ),
    Option(
        "query",
        Choice((KEEP, SORT, DROP)),
        "What becomes of the query of a URL, for servers as for finding what is stored: it is kept as it is, "
        "its parameters are put in order, or it is left out.",
        "query = sort",
        default=KEEP,
    ),
    Option(
        "ignore_parameters",
        Several(Text(100)),
        "Parameters of the query that are left out; `*` stands for any letters.",
        "ignore_parameters = utm_* fbclid gclid",
        otherwise="none",
    ),
    Option(
        "lock_timeout",
        Duration(),
        "While a server is asked for something, all others who ask for the same wait for its answer, but "
        "no longer than this; then each asks by itself.",
        "lock_timeout = 2s",
        default="5s",
    ),
    Option(
        "status_header",
        YesNo(),
        "Whether clients are told by Cache-Status where their answer comes from (RFC 9211).",
        "status_header = no",
        default="yes",
    ),
    Option(
        "purge",
        Several(NetworkForm()),
        "Clients who may have what is stored thrown away, with the method PURGE and its URL.",
        "purge = 10.0.0.0/8",
        otherwise="nobody; `proxyctl cache purge` does it, too",
    ),
    Option(
        "path",
        Folder(),
        "A folder, of this cache alone, in which answers are kept as well: for those that have no room in "
        "memory, and for the time after a restart. It must be there, and writable for the user that proxyd "
        "runs as.",
        "path = /var/cache/proxyd/pages",
        otherwise="answers are kept in memory alone",
    ),
    Option(
        "disk_size",
        Size(),
        "So much of the disk is used there. Each answer takes 8k at least.",
        "disk_size = 20G",
        default="1G",
    ),
    Option(
        "disk_index",
        Size(),
        "So much memory is used to know what is there: 70 bytes an answer. When there are more, those go "
        "that have not been asked for again.",
        "disk_index = 256M",
        default="64M",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a cache: each an option, and what is wrong with it."""
    room = ("disk_size", CacheSpec("").disk_size) if "path" in given else ("size", CacheSpec("").size)
    if given.get("max_object", 0) > given.get(*room):
        yield "max_object", f"is more than {room[0]}, so nothing of that length could be stored"
    for option in ("disk_size", "disk_index"):
        if option in given and "path" not in given:
            yield (
                option,
                "is of a folder, and there is none; write path = /var/cache/proxyd/pages, for example",
            )
    statuses = [status for status, _ in given.get("negative", ())]
    for status in {status for status in statuses if statuses.count(status) > 1}:
        yield "negative", f"{status} is given twice"
