"""
Does no connection's bytes answer another one's request?

Each attack of `tests.support.smuggling`, and each request there that is right but could mislead, is sent to
nginx, Apache and a permissive server: whole, behind another request, in pieces, and with pauses; a request
with a marker follows it, and another client asks meanwhile through the same kept connections.  The same is
done by HTTP/2, with `tests.support.smuggling2` and what was of HTTP/1.1 in the words of HTTP/2.  Everybody
must get the own answer, and the servers' logs must have those requests alone.  One that leaves bodies unread,
and takes them for requests, must not reach another client with what it answers.  Then a hostile server
answers in every way of `tests.support.splitting`, and nobody must get what another one was told, nor what it
says while the daemon is stopped and another one's request waits.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from random import Random
from typing import Callable, Optional

from twisted.internet.threads import deferToThread

from tests.proof._footing import footprint, prove, unchanged
from tests.support import markers2, smuggling2
from tests.support.daemon import Daemon, relay
from tests.support.markers import WAYS, Client, attack, provoke
from tests.support.origins import Echo, Hostile, requests_in
from tests.support.services import apache, nginx_http
from tests.support.smuggling import SMUGGLED, Attack, corpus, lawful
from tests.support.splitting import answers
from tests.support.stage import Place, Stage

SEED = 4711
ROUNDS = 5  # of evil answers, behind the first
LISTENER = "protocol = http\nmax_requests = 100000"


def cases() -> list[tuple[Attack, bool, str]]:
    """Each case in every way, and whether it is right."""
    found = [(one, False, way) for one in corpus(SEED) for way in WAYS]
    found += [(one, True, way) for one in lawful(SEED) for way in WAYS]
    Random(SEED).shuffle(found)
    return found


def cases2() -> list[tuple[smuggling2.Attack, Optional[bool], str]]:
    """Those of HTTP/2, and whether each is right, if that is known."""
    known: list[tuple[smuggling2.Attack, Optional[bool]]] = [(one, False) for one in smuggling2.corpus()]
    known += [(one, True) for one in smuggling2.lawful()]
    known += [(smuggling2.translated(one), None) for one in corpus(SEED)]
    found = [(one, right, way) for one, right in known for way in markers2.WAYS]
    Random(SEED).shuffle(found)
    return found


def send_all(front: Place) -> Counter[str]:
    """Send them all; return how often each target was answered."""
    random = Random(SEED)
    other = Client(front, "127.0.0.3")
    answered: Counter[str] = Counter()
    for number, (one, right, way) in enumerate(cases()):
        found = attack(front, other, one, number, way, random, right)
        answered.update(target.decode() for target in found)
    for number, (two, known, way) in enumerate(cases2(), len(cases())):
        found = markers2.attack(front, other, two, number, way, known)
        answered.update(target.decode() for target in found)
    other.close()
    return answered


def judge(answered: Counter[str], seen: Counter[str]) -> None:
    """What a server has seen is what clients were answered, and nothing that was smuggled."""
    # What was cut may have been asked, and its client been told of the error.
    loose = ("/first", "/own/")
    wrong = {
        target: (answered[target], seen[target])
        for target in answered.keys() | seen.keys()
        if answered[target] != seen[target]
        and not (target.startswith(loose) and seen[target] > answered[target])
    }
    assert not wrong, f"answered, and seen, so often: {wrong}"


async def through(stage: Stage, server: Place, seen: Callable[[], Counter[str]]) -> int:
    """Send all through a daemon to this server; return how many requests were answered."""
    daemon = await relay(stage, server, listener=LISTENER, pool="idle_connection_timeout = 1s")
    answered = await deferToThread(send_all, daemon.front)
    await daemon.leaves_nothing()
    await daemon.stop()
    judge(answered, seen())
    shutil.rmtree(daemon.folder)  # for the next one
    return sum(answered.values())


def logged(path: Path) -> Counter[str]:
    """The targets in the request lines of a log."""
    lines = re.findall(r"^(?:.*\")?[A-Z-]+ (\S+) HTTP/1\.1", path.read_text(), re.MULTILINE)
    return Counter(lines)


def heard(echo: Echo) -> Counter[str]:
    """The targets of the requests that these bytes are; bodies are where they belong."""
    found = [each for data in echo.heard for each in requests_in(bytes(data))]
    assert any(body == SMUGGLED for _, body in found), "no body has arrived"
    assert not [target for target, body in found if body and target != b"/first"], "a body of another request"
    return Counter(target.decode() for target, _ in found)


def provoke_all(daemon: Daemon, hostile: Hostile) -> None:
    """Have the hostile server answer in every way, and say more when nothing, or a request, is unread."""
    other = Client(daemon.front, "127.0.0.3")
    for number, split in enumerate(hostile.splits):
        provoke(daemon.front, hostile, other, number)
        if split.later:
            provoke(daemon.front, hostile, other, number, daemon.child.pid)
    other.close()


async def proof(stage: Stage) -> str:
    server = await nginx_http(stage, 'access_log seen; return 200 "$request_uri";')
    count = await through(stage, server.place, lambda: logged(server.folder / "seen"))
    print(f"nginx: {count} requests answered, each with its own answer")

    httpd = await apache(stage)
    files = httpd.folder / "files"
    (files / "first").write_text("/first")
    for kind in ("before", "own", "other"):
        (files / kind).mkdir()
        for number in range(len(cases()) + len(cases2())):
            (files / kind / str(number)).write_text(f"/{kind}/{number}")
    more = await through(stage, httpd.place, lambda: logged(httpd.folder / "access.log"))
    print(f"Apache: {more} requests answered, each with its own answer")

    echo = Echo(stage)
    most = await through(stage, echo.place, lambda: heard(echo))
    print(f"permissive: {most} requests answered, each with its own answer, and each with one framing")

    careless = Echo(stage, careless=True)
    daemon = await relay(stage, careless.place, listener=LISTENER, pool="idle_connection_timeout = 1s")
    own = sum((await deferToThread(send_all, daemon.front)).values())
    await daemon.leaves_nothing()
    await daemon.stop()
    shutil.rmtree(daemon.folder)
    assert any(b"/smuggled" in data for data in careless.heard), "nothing was there to be careless about"
    print(f"careless: {own} requests answered, each with its own answer")

    hostile = Hostile(stage, answers(SEED))
    daemon = await relay(stage, hostile.place, listener=LISTENER, pool="idle_connection_timeout = 1s")
    await deferToThread(provoke_all, daemon, hostile)
    before = await footprint(daemon)
    for _ in range(ROUNDS):
        await deferToThread(provoke_all, daemon, hostile)
    kept = await unchanged(daemon, before)
    return (
        f"{len(corpus(SEED))} attacks and {len(lawful(SEED))} that are right in {len(WAYS)} ways, "
        f"{len(smuggling2.corpus())} and {len(smuggling2.lawful())} of HTTP/2 in {len(markers2.WAYS)} ways: "
        f"{count} of nginx, {more} of Apache, {most} of a permissive and {own} of a careless server, all "
        "answered with their own; "
        f"{len(hostile.splits)} evil answers, {ROUNDS + 1} times: none to another; {kept}"
    )


if __name__ == "__main__":
    prove(proof)
