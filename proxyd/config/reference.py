"""
What does the reference of all options say?  Prints docs/options.md from the tables that the code reads by::

    python -m proxyd.config.reference > docs/options.md
"""

from __future__ import annotations

from typing import Iterator, Sequence

from proxyd.config.document import KINDS, Kind
from proxyd.config.logformat import OF_CONNECTIONS, OF_REQUESTS
from proxyd.config.options import Option

INTRODUCTION = """\
# Options

This page is printed from the tables that the configuration is read by, so it is never out of date:
`python -m proxyd.config.reference` does it. `proxyctl check FILE` says whether a configuration can be
used, and everything that is wrong in it, with file and line.

## How it is written

```ini
; a comment begins a line,
[listener db]                  ; or it follows a blank
bind = tcp:5432                ; an option: name = value
       unix:db.sock:mode=660   ; an indented line goes on with the value above
pool = ${DB_POOL}              ; a variable of the environment; $$ is a dollar

include = conf.d/*.ini         ; other files, relative to this one
```

- A section begins with its kind and, for listeners, pools and routes, a name: letters, digits, `_`, `.`, `-`.
- A value is split into words as a shell does it: quotes keep blanks, `;` and `#`; between single quotes
  everything is taken as it is. A backslash takes away the meaning of a blank, a quote, a backslash, `;`
  or `#`, and is an ordinary letter before anything else.
- `include` stands anywhere. A pattern may match nothing; a file that is named must exist. An included
  file begins outside any section, and the section with the `include` goes on after it.
- A relative path is relative to the folder of the file that it is written in.
- A duration is a whole number with a unit: `500ms`, `5s`, `10m`, `1h`, `2d`.
- `yes` and `no` may also be written `on` and `off`, or `true` and `false`.

## Addresses

To listen on, in Twisted's syntax of server endpoints:

| written | listens on |
|---|---|
| `tcp:8080` | port 8080 of every IPv4 address; port 0 lets the kernel choose |
| `tcp:8080:interface=127.0.0.1` | port 8080 of one address |
| `tcp6:8080` | port 8080 of every IPv6 address |
| `tcp6:8080:interface=[::1]` | port 8080 of one IPv6 address; Twisted's `interface=\\:\\:1` is the same |
| `unix:/run/web.sock:mode=660` | a unix socket with this file mode (666 if not given) |
| `systemd:name=web`, `systemd:domain=INET:index=0` | a socket that systemd passes, by its name or its place |
| `fd:3` | a socket that the parent process left open under this number |
| `ssl:443:privateKey=key.pem:certKey=chain.pem` | TLS on port 443, in Twisted's words |
| `tls:443:certificates=/etc/proxyd/certs` | TLS on port 443; the parameters of [`tls`](#tls) may follow |
| any other kind | whatever Twisted makes of it, when the daemon starts; not `stdio` and `haproxy` |

All of ours that bind take `backlog=N`, the length of the queue of new connections: 511 if not given,
and never more than the kernel's `net.core.somaxconn`. `ssl` and `tls` take `interface=` as `tcp` does, and
`ssl` also `sslmethod=`, `extraCertChain=` and `dhParameters=`.

Of a server: `10.0.0.1:5432`, `db.example.com:5432`, `[2001:db8::1]:5432`, `unix:/run/postgres.sock`, or
`srv:_postgresql._tcp.example.com`, whose SRV records give hosts, ports, weights and priorities.
"""

PLACES = """\
## Places in a line of the access log

In a format of your own ([`access_log`](#access_log)) these stand for what is known of a request or a
connection. What is not known is `-`. No client can fake a line: what stands between double quotes of the
format is escaped as in a string of JSON, and anywhere else a value is written as such a string, with its
quotes, if it holds a blank, a quote, `=`, a backslash, what is not visible ASCII, or a character that stands
beside its place. A brace itself is written twice. At most 500 letters of a value are written.

| place | only of a | what stands there |
|---|---|---|"""


def render() -> str:
    """The text of docs/options.md."""
    sections = (line for name, kind in KINDS.items() for line in _kind(name, kind))
    return "\n".join([INTRODUCTION, *_places(), *sections])


def _places() -> Iterator[str]:
    yield PLACES
    for name, doc in {**OF_REQUESTS, **OF_CONNECTIONS}.items():
        only = "" if name in OF_REQUESTS and name in OF_CONNECTIONS else "request"
        only = "connection" if name not in OF_REQUESTS else only
        yield f"| `{{{name}}}` | {only} | {doc} |"
    yield ""


def _kind(name: str, kind: Kind) -> Iterator[str]:
    yield f"## `[{name} NAME]`" if kind.named else f"## `[{name}]`"
    yield ""
    yield kind.doc
    if kind.inherited:
        names = ", ".join(f"`{option.name}`" for option in kind.inherited)
        yield ""
        yield f"A value given here for {names} is the default of all listeners; they are described below."
    for option in kind.options:
        yield ""
        yield f"### {option.title}"
        yield ""
        yield option.doc
        yield ""
        yield f"- value: {option.form.shape}"
        yield f"- {_default(option)}"
        yield f"- example: `{option.example}`"
        if option.into:
            yield "- may be given several times"
        yield from _parameters(option.form.parameters, "")
        for variant in option.form.variants:
            yield f"- `{variant.name}`: {variant.doc}"
            yield from _parameters(variant.parameters, "  ")
    yield ""


def _parameters(parameters: Sequence[Option], indent: str) -> Iterator[str]:
    for parameter in parameters:
        yield f"{indent}- `{parameter.name}`: {parameter.doc}"
        several = " May be given several times." if parameter.into else ""
        value = f"Value: {parameter.form.shape}; {_default(parameter)}; example: `{parameter.example}`."
        yield f"{indent}  {value}{several}"


def _default(option: Option) -> str:
    if option.required:
        return "must be given" + (" at least once" if option.named or option.into else "")
    return f"default: `{option.default}`" if option.default else f"default: {option.otherwise}"


if __name__ == "__main__":
    print(render(), end="")
