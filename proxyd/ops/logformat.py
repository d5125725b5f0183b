"""
How is a line of the access log written in a format of the operator's own?

Once, when the daemon starts, each place of the format is led to what writes it; a line is then a call for
each place, and one ``%``.  Which places there are `proxyd.config.logformat` says, and how values are kept
from faking a line, docs/options.md.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from operator import attrgetter
from typing import Any, Callable, Mapping, Optional

from proxyd.config.logformat import REQUEST, RESPONSE
from proxyd.config.template import Template
from proxyd.ops.words import LONGEST_VALUE, address_alone, clock, duration, kernel, moment

Of = Callable[[Any], str]  # a record

_to_json = json.JSONEncoder(separators=(",", ":")).encode  # leaves ASCII only, and no control character

_safe_in_quotes = re.compile(r"[ !#-\[\]-~]{1,500}").fullmatch

_PLAIN = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('"=\\')


def _seconds_of(name: str) -> Of:
    value_of: Callable[[Any], Optional[float]] = attrgetter(name)
    return lambda record: duration(value_of(record))


def _bytes_of(name: str) -> Of:
    value_of: Callable[[Any], bytes] = attrgetter(name)

    def read(record: Any) -> str:
        return value_of(record)[:LONGEST_VALUE].decode("latin-1")

    return read


def _field_of(name: str, wanted: bytes) -> Of:
    fields_of = attrgetter(name)

    def read(record: Any) -> str:
        found = [field[1] for field in fields_of(record) if field[0] == wanted]
        return b", ".join(found)[:LONGEST_VALUE].decode("latin-1")

    return read


# What we have made ourselves needs no care.
OURS: Mapping[str, Of] = {
    "time": lambda record: moment(record.started) or "-",
    "time_common": lambda record: clock(int(record.started)),
    "time_epoch": lambda record: f"{record.started:.3f}",
    "queue": _seconds_of("queue_seconds"),
    "connect": _seconds_of("connect_seconds"),
    "total": _seconds_of("total_seconds"),
    "first_byte": _seconds_of("first_byte_seconds"),
    "in": lambda record: str(record.bytes_in),
    "out": lambda record: str(record.bytes_out),
    "retries": lambda record: str(record.retries),
    "chosen": lambda record: record.chosen or "-",
    "hedged": lambda record: "yes" if record.hedged else "-",
    "reason": attrgetter("reason.code"),
    "fault": attrgetter("reason.fault.value"),
    "status": lambda record: str(record.status),
    "version": attrgetter("version"),
    "encoding": lambda record: record.encoding or "-",
    "client_tcp": lambda record: kernel(record.client_tcp),
    "server_tcp": lambda record: kernel(record.server_tcp),
}

# What the configuration bounds: it is the same for many lines.
BOUNDED: Mapping[str, Of] = {
    "listener": attrgetter("listener"),
    "pool": attrgetter("pool"),
    "server": attrgetter("server"),
    "address": attrgetter("server_address"),
    "route": attrgetter("route"),
    "tls": attrgetter("tls"),
    "alpn": attrgetter("alpn"),
    "server_tls": attrgetter("server_tls"),
}

# What others have said.
SAID: Mapping[str, Of] = {
    "client": attrgetter("client"),
    "client_address": lambda record: address_alone(record.client),
    "via": attrgetter("via"),
    "sni": attrgetter("sni"),
    "cn": attrgetter("client_cn"),
    "id": attrgetter("unique_id"),
    "user": attrgetter("user"),
    "cache": attrgetter("cache"),
    "detail": attrgetter("detail"),
    "method": _bytes_of("method"),
    "host": _bytes_of("host"),
    "target": _bytes_of("target"),
    "path": lambda record: record.target.partition(b"?")[0][:LONGEST_VALUE].decode("latin-1"),
    "query": lambda record: record.target.partition(b"?")[2][:LONGEST_VALUE].decode("latin-1"),
}


def line_of(template: Template) -> Of:
    """What makes a line of a record, with its newline; ASCII."""
    pattern, writers = "", []
    quotes, places = 0, [*template.parts, ("", "")]
    for (before, name), (behind, _) in zip(places, places[1:]):
        pattern += before.replace("%", "%%")
        quotes += before.count('"')
        if name:
            pattern += "%s"
            writers.append(_writer(name, quotes % 2 == 1, before[-1:] + behind[:1]))

    def line(record: Any) -> str:
        return pattern % tuple([write(record) for write in writers])

    pattern += "\n"
    return line


def _writer(name: str, in_quotes: bool, beside: str) -> Of:
    """What writes the value of a place, which the letters ``beside`` it must not seem to end."""
    if name in OURS:
        return OURS[name]
    spell = _quoted if in_quotes else _bare(beside)
    if name in BOUNDED:
        return _spelt(BOUNDED[name], lru_cache(maxsize=1024)(spell))
    return _spelt(SAID[name] if name in SAID else _field(name), spell)


def _spelt(value_of: Of, spell: Callable[[str], str]) -> Of:
    return lambda record: spell(value_of(record))


def _field(name: str) -> Of:
    if name == f"{REQUEST}host":
        return SAID["host"]  # which is not among the fields
    if name.startswith(REQUEST):
        return _field_of("fields", name[len(REQUEST) :].lower().encode("ascii"))
    return _field_of("answer_fields", name[len(RESPONSE) :].lower().encode("ascii"))


def _quoted(value: str) -> str:
    if _safe_in_quotes(value):
        return value
    return _to_json(value[:LONGEST_VALUE])[1:-1] if value else "-"


def _bare(beside: str) -> Callable[[str], str]:
    letters = "".join(map(re.escape, sorted(_PLAIN - frozenset(beside))))
    plain = re.compile(f"(?!-\\Z)[{letters}]{{1,{LONGEST_VALUE}}}").fullmatch

    def spell(value: str) -> str:
        if plain(value):
            return value
        return _to_json(value[:LONGEST_VALUE]) if value else "-"

    return spell
