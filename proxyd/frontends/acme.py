"""
What do clients get at the address where http-01 is answered?

An authority that looks whether a name is ours gets the answer to its challenge (RFC 8555, 8.3).  Whoever asks
for anything else is sent to https on the same host: that is the port that browsers try first.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import Request

from proxyd.policy.acme import Answers
from proxyd.wire.acme import WELL_KNOWN

MOST = 500  # clients at a time: this port is open to everybody, and is not counted as a listener's

_HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_TARGET = re.compile(rb"/[!-~]{0,4000}")


class Challenges(Resource):
    """The whole site: what is answered to challenges, and a redirection of all else."""

    isLeaf = True

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def render(self, request: Request) -> bytes:
        path: bytes = request.uri.partition(b"?")[0]
        answer = self._answers.http(path[len(WELL_KNOWN) :]) if path.startswith(WELL_KNOWN) else None
        if answer is not None:
            request.setHeader("Content-Type", "application/octet-stream")  # RFC 8555, 8.3, has it so
            return answer if request.method == b"GET" else b""
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        host = _HOST.fullmatch(request.getHeader(b"host") or b"")
        if path.startswith(WELL_KNOWN):
            request.setResponseCode(http.NOT_FOUND)
            return b"404: no challenge with this token is under way\n"
        if host is None or not _TARGET.fullmatch(request.uri):
            request.setResponseCode(http.BAD_REQUEST)
            return b"400: there is no host and path that could be redirected\n"
        # 308: as 301, but the method stays (RFC 9110, 15.4.9)
        request.setResponseCode(308)
        request.setHeader("Location", b"https://" + host[1] + request.uri)
        return b"308: this is served by https\n"


class Bounded(WrappingFactory):
    """
    What gives at most `MOST` clients at a time what another factory has for them.

    For one more the oldest has to go: who only holds connections open cannot keep an authority out.  Those
    that have to go have gone only when the reactor comes round, and until then as many more may have come.
    """

    noisy = False

    def buildProtocol(self, addr: Any) -> ProtocolWrapper:
        for oldest in islice(self.protocols, max(0, len(self.protocols) + 1 - MOST)):
            transport: Any = oldest.transport
            transport.abortConnection()
        return super().buildProtocol(addr)
