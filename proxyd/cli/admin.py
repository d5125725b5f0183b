"""
How does ``proxyctl`` ask the running daemon?

With one line of JSON on its admin socket, which is answered by one line: `proxyd.ops.admin` has the protocol.
What cannot be done leaves with status 1, a daemon that cannot be reached with status 3, and each says whose
fault it is.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from argparse import ArgumentParser, Namespace
from typing import Any, NoReturn

from proxyd.cli.command import read_config

DEFAULT_PATH = "/run/proxyd/admin.sock"
VARIABLE = "PROXYD_ADMIN"
PATIENCE = 10.0  # seconds without a byte of the answer; the daemon answers within milliseconds
LONGEST_ANSWER = 64 * 1024 * 1024  # bytes; ten thousand servers take some 3 MB

REFUSED = 1
UNREACHABLE = 3


def takes_socket(parser: ArgumentParser) -> None:
    """Add the options that say which daemon is asked, and ``--json``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--socket",
        metavar="PATH",
        help=f"the daemon's admin socket (if not given: ${VARIABLE} of the environment, or {DEFAULT_PATH})",
    )
    which.add_argument("--config", metavar="FILE", help="the daemon's configuration, which names the socket")
    parser.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")


class Refused(Exception):
    """The daemon has refused; the text says why."""


def ask(arguments: Namespace, command: str, **given: Any) -> dict[str, Any]:
    """What the daemon answers; parameters that are None are not sent.  Leaves if there is no such answer."""
    try:
        return ask_gently(arguments, command, **given)
    except Refused as why:
        _leave(REFUSED, str(why))


def ask_gently(arguments: Namespace, command: str, **given: Any) -> dict[str, Any]:
    """The same, but for a daemon that refuses: then it raises `Refused`."""
    path = _path(arguments)
    request = {"command": command, **{name: value for name, value in given.items() if value is not None}}
    try:
        answer = json.loads(_exchange(path, json.dumps(request).encode("ascii") + b"\n"))
        error, result = answer.get("error"), answer.get("result")
    except OSError as failed:
        _leave(UNREACHABLE, _explained(path, failed))
    except (ValueError, AttributeError):
        _leave(UNREACHABLE, f"what listens on {path} does not answer as proxyd does")
    if error is not None:
        raise Refused(str(error))
    if not isinstance(result, dict):
        _leave(UNREACHABLE, f"what listens on {path} does not answer as proxyd does")
    return result


def _path(arguments: Namespace) -> str:
    if arguments.socket:
        return str(arguments.socket)
    if arguments.config:
        admin = read_config(arguments.config).daemon.admin
        if admin is None:
            text = f"{arguments.config} has no admin socket; write admin = unix:{DEFAULT_PATH} in [proxyd]"
            _leave(REFUSED, text)
        return admin.path
    return os.environ.get(VARIABLE) or DEFAULT_PATH


def _exchange(path: str, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as skt:
        skt.settimeout(PATIENCE)
        skt.connect(path)
        try:
            skt.sendall(request)
        except ConnectionError:
            pass  # it has hung up on us, and may have said why
        answer = bytearray()
        while not answer.endswith(b"\n"):
            data = skt.recv(1024 * 1024)
            if not data:
                raise OSError(errno.ECONNRESET, "Connection reset by peer")
            answer += data
            if len(answer) > LONGEST_ANSWER:
                raise ValueError
        return bytes(answer)


def _explained(path: str, error: OSError) -> str:
    """Whose fault it is that there was no answer, and what to look at."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no {path}; is the daemon running, and does its [proxyd] have admin = unix:{path}?"
    if error.errno == errno.ECONNREFUSED:
        return f"nobody listens on {path}; the daemon that made it has ended"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"you (uid {os.geteuid()}) may not write to {path}{_lock(path)}"
    if isinstance(error, socket.timeout) or error.errno == errno.EAGAIN:
        return f"the daemon on {path} does not answer; it is stopped, or far too busy"
    if error.errno == errno.ECONNRESET:
        return f"the daemon on {path} has hung up without an answer; its log may say why"
    return f"{path}: {error.strerror or error}"


def _lock(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    mode = f"{stat.S_IMODE(found.st_mode):o}"
    return f", which has mode {mode} and is of uid {found.st_uid} and gid {found.st_gid}"


def _leave(status: int, text: str) -> NoReturn:
    print(f"proxyctl: {text}", file=sys.stderr)
    raise SystemExit(status)
