"""
For whom does a proxy before us ask?

One that is `trusted` asks for many clients on one connection.  Each of its requests is that of the client
whom it tells of, for all that goes by clients: routes, limits, balancing, logs; as nginx's realip has it, and
as a PROXY header has it of whole connections.
"""

from __future__ import annotations

from typing import Sequence

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address

from proxyd.config.http import FORWARDED as BY_FORWARDED
from proxyd.config.http import HttpSpec
from proxyd.frontends.http.request import is_in
from proxyd.relay.opening import Opening
from proxyd.wire.forwarded import FORWARDED, X_FORWARDED_FOR, asked_by
from proxyd.wire.httpfields import Field


def spoken_for(sender: Opening, fields: Sequence[Field], spec: HttpSpec) -> Opening:
    """What is known of the client of a request of ``sender``, who is believed; if it names nobody, itself."""
    name = FORWARDED if spec.forwarded == BY_FORWARDED else X_FORWARDED_FOR
    found = asked_by(fields, name, lambda host: is_in(host, spec.trusted))
    if found is None:
        return sender
    host, port = found
    address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
    return evolve(sender, address=address, via=sender.address)
