"""Does MySQL, or MariaDB, let us in, and does a query give what it should?"""

from __future__ import annotations

from typing import Optional

from proxyd.config.address import UnixAddress
from proxyd.config.probes import MysqlAsk
from proxyd.errors import Malformed
from proxyd.upkeep.probes.conversation import Call, Conversation, Failed, shown
from proxyd.upkeep.probes.rows import Row, judge
from proxyd.wire import mysql
from proxyd.wire.mysql import Packet


async def probe(call: Call, ask: MysqlAsk) -> str:
    """
    Pass when the server lets us in, and the query gives what it should.

    A handshake that is not finished counts as an error of our host, and after ``max_connect_errors`` the
    server refuses it: so there is no check without a login.  Once we are in we leave with COM_QUIT.
    """
    async with call.connect() as talk:
        await _log_in(talk, ask, secure=isinstance(call.address, UnixAddress))
        talk.farewell = mysql.QUIT
        if ask.query:
            judge(ask.expect, await _first_row(talk, ask.query))
    return ""


async def _log_in(talk: Conversation, ask: MysqlAsk, secure: bool) -> None:
    """Log in as the server would have it; ``secure`` tells that nobody else can hear us."""
    greeting = mysql.greeting((await _hear(talk, "greeting")).body)
    plugin, nonce = greeting.plugin, greeting.nonce
    proof = mysql.proof(plugin, ask.password, nonce)
    if proof is None:  # the user's own plugin may be another than the server's default
        plugin, proof = mysql.NATIVE, mysql.proof(mysql.NATIVE, ask.password, nonce)
    login, number = mysql.login(ask.user, proof or b"", plugin, ask.dbname), 1
    if talk.starttls:
        login = mysql.wants_tls(login)
        talk.say(mysql.framed(login[: mysql.SSL_REQUEST_LENGTH], number))
        await talk.start_tls()
        secure, number = True, 2
    talk.say(mysql.framed(login, number))
    while True:
        packet = await _hear(talk, "answer to the login")
        if packet.kind == mysql.OK:
            return
        if packet.kind == mysql.SWITCH:
            plugin, nonce = mysql.switch(packet.body)
            answer = mysql.proof(plugin, ask.password, nonce)
            if answer is None:
                raise Failed(f"asks for authentication by {shown(plugin.encode())}, which a check cannot do")
            talk.say(mysql.framed(answer, packet.number + 1))
        elif packet.kind == mysql.MORE_DATA and packet.body[1:] == mysql.FULL_LOGIN:
            await _log_in_fully(talk, ask.password, nonce, packet.number + 1, secure)
        elif packet.kind != mysql.MORE_DATA or packet.body[1:] != mysql.FAST_OK:
            raise Malformed("an answer to the login that is none of MySQL's")


async def _log_in_fully(talk: Conversation, password: str, nonce: bytes, number: int, secure: bool) -> None:
    """
    Give the password itself, which caching_sha2_password wants when the server has not cached it.

    On a network it is encrypted with the RSA key that the server gives.
    """
    text = password.encode("utf-8") + b"\x00"
    if not secure:
        talk.say(mysql.framed(mysql.REQUEST_KEY, number))
        packet = await _hear(talk, "public key")
        if packet.kind != mysql.MORE_DATA:
            raise Malformed("something else than its public key")
        text, number = _encrypted(mysql.xor(text, nonce), packet.body[1:]), packet.number + 1
    talk.say(mysql.framed(text, number))


def _encrypted(text: bytes, pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
        if isinstance(key, RSAPublicKey):
            return key.encrypt(text, OAEP(MGF1(SHA1()), SHA1(), None))
    except ValueError:  # no key, or one that is too short for the password
        pass
    raise Malformed("a public key that cannot be used")


async def _first_row(talk: Conversation, sql: str) -> Optional[Row]:
    """The first row that a query gives, if it gives one."""
    talk.say(mysql.framed(mysql.query(sql)))
    answer = await _hear(talk, "answer to the query")
    if answer.kind == mysql.OK:
        return None
    if answer.kind == mysql.LOCAL_INFILE:
        raise Failed("wants data for the query")
    mysql.columns(answer.body)
    while not (await _hear(talk, "answer to the query")).ends_rows:
        pass  # what the columns are
    first = await _hear(talk, "answer to the query")
    return None if first.ends_rows else mysql.row(first.body)


async def _hear(talk: Conversation, awaited: str) -> Packet:
    """The next packet that is no complaint."""
    packet = await talk.hear(mysql.packet, awaited)
    if packet.kind == mysql.ERROR:
        raise Failed(f"answered {shown(mysql.complaint(packet.body))}")
    return packet
