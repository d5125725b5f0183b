"""Does PostgreSQL let us in, is it the primary, and does a query give what it should?"""

from __future__ import annotations

import base64
import os
from typing import Callable, Optional

from proxyd.config.probes import PgsqlAsk
from proxyd.upkeep.probes.conversation import Call, Conversation, Failed, shown
from proxyd.upkeep.probes.rows import Row, judge, text
from proxyd.wire import pgsql
from proxyd.wire.pgsql import Message
from proxyd.wire.scram import MECHANISM, Scram

_ROLE = "SELECT pg_is_in_recovery()"
_METHODS = {2: "Kerberos V5", 6: "SCM credentials", 7: "GSSAPI", 9: "SSPI"}


def _nonce() -> str:
    return base64.b64encode(os.urandom(18)).decode("ascii")


async def probe(call: Call, ask: PgsqlAsk, nonce: Callable[[], str] = _nonce) -> str:
    """
    Pass when the server asks for a password and none is given, or else when all is as it was asked for.

    Once we are in we leave with Terminate.  Before that the server would log it as a breach of protocol,
    while it says nothing of a connection that is closed instead of giving a password: psql does so.
    """
    async with call.connect() as talk:
        talk.say(pgsql.startup(ask.user, ask.dbname or ask.user))
        if not await _log_in(talk, ask, nonce):
            return ""
        talk.farewell = pgsql.TERMINATE
        while (await _hear(talk, "answer to the login")).kind != b"Z":
            pass
        if ask.role:
            _judge_role(ask.role, await _first_row(talk, _ROLE))
        if ask.query:
            judge(ask.expect, await _first_row(talk, ask.query))
    return ""


async def _log_in(talk: Conversation, ask: PgsqlAsk, nonce: Callable[[], str]) -> bool:
    """Whether we are in; if not, no password was given, and none is needed."""
    scram: Optional[Scram] = None
    while True:
        message = await _hear(talk, "answer to the login")
        if message.kind != b"R":
            continue
        wanted, data = pgsql.authentication(message.body)
        if wanted == pgsql.OK:
            return True
        if not ask.password:
            if ask.role or ask.query:
                raise Failed("asks for a password, and the check has none")
            return False
        if wanted == pgsql.CLEARTEXT:
            talk.say(pgsql.password(ask.password))
        elif wanted == pgsql.MD5:
            talk.say(pgsql.password(pgsql.md5(ask.user, ask.password, data)))
        elif wanted == pgsql.SASL and MECHANISM in pgsql.mechanisms(data):
            scram = Scram(ask.password, nonce())
            talk.say(pgsql.sasl_first(MECHANISM, scram.first()))
        elif wanted == pgsql.SASL_CONTINUE and scram is not None:
            talk.say(pgsql.sasl(scram.final(data)))
        elif wanted == pgsql.SASL_FINAL and scram is not None:
            scram.verify(data)
        else:
            method = _METHODS.get(wanted, f"method {wanted}")
            raise Failed(f"asks for authentication by {method}, which a check cannot do")


async def _first_row(talk: Conversation, sql: str) -> Optional[Row]:
    """The first row that a query gives, if it gives one."""
    talk.say(pgsql.query(sql))
    first: Optional[Row] = None
    while True:
        message = await _hear(talk, "answer to the query")
        if message.kind == b"D" and first is None:
            first = pgsql.row(message.body)
        elif message.kind in (b"G", b"W"):
            raise Failed("wants data for the query")
        elif message.kind == b"Z":
            return first


async def _hear(talk: Conversation, awaited: str) -> Message:
    """The next message that is no complaint."""
    message = await talk.hear(pgsql.message, awaited)
    if message.kind == b"E":
        raise Failed(f"answered {shown(pgsql.complaint(message.body))}")
    return message


def _judge_role(wanted: str, row: Optional[Row]) -> None:
    if row not in ((b"t",), (b"f",)):
        raise Failed(f"answered {shown(text(row).encode('utf-8'))} to {_ROLE}")
    role = "replica" if row == (b"t",) else "primary"
    if role != wanted:
        raise Failed(f"is {role}, not {wanted}")
