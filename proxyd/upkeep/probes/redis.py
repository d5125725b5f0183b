"""Does Redis answer, and is it the master?"""

from __future__ import annotations

from typing import Any

from proxyd.config.probes import RedisAsk
from proxyd.upkeep.probes.conversation import Call, Conversation, Failed, shown
from proxyd.wire import resp

_ROLES = {b"slave": "replica"}  # what is not called as Redis calls it


async def probe(call: Call, ask: RedisAsk) -> str:
    """Log in if a password is given, ask for PONG, and for the role if one is wanted."""
    async with call.connect() as talk:
        if ask.password:
            login = [ask.user, ask.password] if ask.user else [ask.password]
            _expect(resp.Status(b"OK"), await _ask(talk, "AUTH", *login))
        _expect(resp.Status(b"PONG"), await _ask(talk, "PING"))
        if ask.role:
            _judge_role(ask.role, await _ask(talk, "ROLE"))
    return ""


async def _ask(talk: Conversation, *words: str) -> Any:
    talk.say(resp.command(*words))
    return await talk.hear(resp.reply, f"answer to {words[0]}")


def _expect(wanted: resp.Status, answer: Any) -> None:
    if answer != wanted:
        raise Failed(f"answered {_shown(answer)}")


def _judge_role(wanted: str, answer: Any) -> None:
    """The answer to ROLE is an array that begins with the role: master, slave or sentinel."""
    if not isinstance(answer, tuple) or not answer or not isinstance(answer[0], bytes):
        raise Failed(f"answered {_shown(answer)} to ROLE")
    role = _ROLES.get(answer[0], shown(answer[0]))
    if role != wanted:
        raise Failed(f"is {role}, not {wanted}")


def _shown(answer: Any) -> str:
    if isinstance(answer, resp.Error):
        return f"-{shown(answer.text)}"
    if isinstance(answer, resp.Status):
        return f"+{shown(answer.text)}"
    return shown(answer) if isinstance(answer, bytes) else shown(repr(answer).encode("utf-8"))
