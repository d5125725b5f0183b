"""What did the operator ask of the daemon as a whole?  The ``[proxyd]`` section."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence, Union

from attrs import frozen

from proxyd.config import shedding
from proxyd.config.address import Bind, Folder, UnixBind, file_path
from proxyd.config.bind import BindForm, PrivateBind
from proxyd.config.logformat import ConnectionFormat, RequestFormat
from proxyd.config.options import Count, Duration, Fail, Form, Option, parameters
from proxyd.config.reader import Word
from proxyd.config.resolvers import Resolvers, ResolversSpec
from proxyd.config.shedding import ShedSpec
from proxyd.config.template import Template

TWISTD = "twistd"


@frozen
class AccessLogSpec:
    """
    Where a line for each connection and each request goes: a file, or (no path) the log of twistd.

    A ``format`` of one's own is that of requests; ``connections`` is that of connections, if it is another.
    """

    path: str = ""
    format: Union[str, Template] = "text"
    connections: Optional[Template] = None


@frozen
class DaemonSpec:
    """``[proxyd]``; ``max_connections`` 0 means: as many as the descriptors allow."""

    access_log: Optional[AccessLogSpec] = None
    admin: Optional[UnixBind] = None
    metrics: Optional[Bind] = None
    drain_timeout: float = 30.0
    max_connections: int = 0
    max_bans: int = 100_000
    shed: Optional[ShedSpec] = None
    state: str = ""
    resolvers: ResolversSpec = ResolversSpec()


class AccessLog(Form):
    """``PATH format=json``, or ``twistd``."""

    shape: ClassVar[str] = "a file's path, or `twistd` for the log of twistd; then the parameter below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "format",
            RequestFormat(),
            "How a line is written. `combined` is Apache's format of that name; it, and a format of your "
            "own, have lines for requests alone.",
            "format='{client} \"{method} {target}\" {status} {total}'",
            default="text",
        ),
        Option(
            "connections",
            ConnectionFormat(),
            "How the line of a connection is written that brought no request of HTTP.",
            "connections='{time} {client} {reason}'",
            otherwise="as `format` says",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[AccessLogSpec]:
        first, *rest = words
        values = parameters(rest, self.parameters, fail)
        if not first.text or first.text.endswith("/") or first.text.startswith("format="):
            fail(first.line, f"begins with the path of a file, or with {TWISTD} for the log of twistd")
        if values is None:
            return None
        return AccessLogSpec("" if first.text == TWISTD else file_path(first.text, first), **values)


OPTIONS = (
    Option(
        "access_log",
        AccessLog(),
        "Write one line for each connection that has ended, and one for each request of HTTP; a connection "
        "with requests has none of its own.",
        "access_log = /var/log/proxyd/access.log format=json",
        otherwise="no access log",
    ),
    Option(
        "admin",
        PrivateBind(),
        "Answer `proxyctl` here: it shows what the daemon is doing, and steers it. Whoever may write to the "
        "socket may do both; without a mode that is the user that the daemon was started as, and root.",
        "admin = unix:/run/proxyd/admin.sock",
        otherwise="the running daemon cannot be steered",
    ),
    Option(
        "metrics",
        BindForm(),
        "Serve metrics to Prometheus here, at `/metrics`. Keep it away from strangers.",
        "metrics = tcp:9901:interface=127.0.0.1",
        otherwise="no metrics are served",
    ),
    Option(
        "drain_timeout",
        Duration(may_be_zero=True),
        "When the daemon stops, it lets open connections finish for so long before it cuts them.",
        "drain_timeout = 2m",
        default="30s",
    ),
    Option(
        "max_connections",
        Count(1, 10_000_000),
        "So many clients are served at once, over all listeners; more wait in the kernel's backlog.",
        "max_connections = 20000",
        otherwise="as many as the limit on file descriptors allows",
    ),
    Option(
        "max_bans",
        Count(1, 1_000_000),
        "So many addresses and networks may be banned at a time; for one more, the ban that would end first "
        "is dropped. Each takes some 650 bytes.",
        "max_bans = 20000",
        default="100000",
    ),
    *shedding.OPTIONS,
    Option(
        "state",
        Folder(),
        "Keep here what the next process should know: which servers are down, draining, in maintenance or "
        "ejected, since when and why, the weights that operators gave them, and who is banned. The folder "
        "must be there, and writable for the user that proxyd runs as.",
        "state = /var/lib/proxyd",
        otherwise="after a restart every server is as the configuration has it",
    ),
    Option(
        "resolvers",
        Resolvers(),
        "Who is asked for the addresses of servers that are given by a name.",
        "resolvers = 10.0.0.53 10.0.1.53 timeout=500ms",
        default="system",
    ),
)
