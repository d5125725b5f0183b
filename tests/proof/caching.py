"""
What does a public suite of tests of RFC 9111 find in our cache, and in three others?

It is http-cache-tests of the registry of npm (https://cache-tests.fyi), which wants node and the network; it
has a server that answers as each test wants, and a client that looks at what comes through.  What it requires
and what it calls optimal must hold but for what `KNOWN` has, with why; what it only looks at is counted.

We are asked twice, as we are by default and with ``heuristic = 10%``: Traffic Server guesses by default for
how long an answer is good that does not say, and we only where the operator wants it (`GUESSED`).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Any

from tests.proof._footing import prove
from tests.support.daemon import start
from tests.support.stage import Place, Stage, program

SUITE = "http-cache-tests@0.4.5"

PATIENCE = 600.0  # seconds

SECTIONS = """
[listener front]
bind = {front}
protocol = http
pool = servers
cache = pages
[listener guessing]
bind = {guessing}
protocol = http
pool = servers
cache = guessed
[cache pages]
[cache guessed]
heuristic = 10%
[pool servers]
server a = {server}
"""

NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log nginx.log;
events {{}}
http {{
    access_log off; proxy_temp_path proxy; client_body_temp_path body; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi; proxy_cache_path cache keys_zone=pages:8m;
    server {{
        listen {front};
        location / {{ proxy_pass http://{server}; proxy_cache pages; proxy_cache_revalidate on; }}
    }}
}}
"""

RECORDS = """
CONFIG proxy.config.http.server_ports STRING {port}:ip-in={host}
CONFIG proxy.config.local_state_dir STRING {folder}
CONFIG proxy.config.log.logfile_dir STRING {folder}
CONFIG proxy.config.admin.user_id STRING #-1
"""

# What it wants and we do not do, by the beginning of its name.
KNOWN = {
    # Of what it requires.
    "age-parse-": (
        "an Age that is none made an answer stale in RFC 7234; RFC 9111, 5.1, has caches take the first "
        "of several and ignore what is no number (httpwg/http-core issue 778, by who wrote these tests)"
    ),
    "stale-close-": (
        "our page of 502 is taken for the stored answer, as it lacks the field in which the server "
        "counts: all four caches fail here, with pages of their own"
    ),
    "headers-store-Set-Cookie": (
        "what is for one is not stored, as with nginx and Varnish (RFC 9111, 7.3, allows it)"
    ),
    "headers-store-Transfer-Encoding": (
        "its value is a coding that nobody knows: where such a body ends cannot be known, so the answer "
        "is refused (RFC 9112, 6.3)"
    ),
    "304-etag-update-response-ETag": (
        "a 304 with another strong tag must not update what is stored (RFC 9111, 4.3.4): the whole is "
        "asked for again, which its server answers with 999"
    ),
    "304-etag-update-response-Set-Cookie": "what is for one is not stored",
    # Of what it calls optimal.
    "other-set-cookie": "what is for one is not stored",
    "method-POST": (
        "an answer to a POST is stored for no GET (RFC 9110, 9.3.3, allows it): no request of one client "
        "with a body makes an answer for others; no cache here does it"
    ),
    "vary-normalise-lang-select": (
        "it wants another Accept-Language answered with what its server chose for the first, as both name "
        "that language; RFC 9111, 4.1, lets caches compare only what means the same"
    ),
    "conditional-lm-fresh-no-lm": (
        "it wants 304 for an If-Modified-Since an hour before the Date of an answer that has no "
        "Last-Modified; by RFC 9111, 4.3.2, that Date counts, so the answer may be a newer one"
    ),
    "partial-store-partial-reuse-": (
        "parts are not stored; these announce six bytes by Content-Range and have five, so what is where "
        "in them could not be known"
    ),
    "partial-store-partial-complete": (
        "it wants a part without a validator completed, which must not be combined with what comes then "
        "(RFC 9111, 3.4)"
    ),
}

# What is optimal where the operator wants it guessed for how long an answer is good.
GUESSED = "heuristic-"

# Which tests there are, of which kind; those without are required.
KINDS = """
import tests from './tests/index.mjs'
const kinds = {}
for (const suite of tests) for (const test of suite.tests) kinds[test.id] = test.kind || 'required'
console.log(JSON.stringify(kinds))
"""


async def found(stage: Stage, suite: Path, front: Place) -> dict[str, Any]:
    """What the suite says of a cache: true, or what is wrong, by the names of its tests."""
    environment = {"npm_package_config_id": "", "npm_config_base": f"http://{front}"}
    said = await stage.run(
        program("node", "nodejs"),
        "--no-warnings",
        suite / "cli.mjs",
        environment=environment,
        seconds=PATIENCE,
    )
    results: dict[str, Any] = json.loads(said.out)
    return results


def is_there(place: Place) -> bool:
    """Whether somebody listens."""
    with socket.socket() as skt:
        return skt.connect_ex((place.host, place.port)) == 0


def tally(kinds: dict[str, str], results: dict[str, Any], kind: str) -> tuple[int, list[str]]:
    """How many tests of a kind were passed, and which were not."""
    mine = [name for name, which in kinds.items() if which == kind and name in results]
    wrong = [name for name in mine if results[name] is not True]
    return len(mine) - len(wrong), wrong


def nginx(stage: Stage, server: str) -> Place:
    """Begin to store what the server says, as Debian's nginx does."""
    place, own = stage.tcp(), stage.subfolder("nginx")
    (own / "nginx.conf").write_text(NGINX.format(front=place, server=server))
    stage.spawn(program("nginx", "nginx"), "-p", own, "-e", "nginx.log", "-c", own / "nginx.conf")
    return place


def varnish(stage: Stage, server: str) -> Place:
    """The same with Varnish, as it is without a configuration."""
    place = stage.tcp()
    stage.spawn(
        program("varnishd", "varnish"), "-F", "-n", stage.subfolder("varnish"), "-a", str(place),
        "-b", server, "-s", "malloc,64m", "-T", "none", "-j", "none",
    )  # fmt: skip
    return place


def traffic_server(stage: Stage, server: str) -> Place:
    """The same with Traffic Server, as Debian has it."""
    place, own = stage.tcp(), stage.subfolder("trafficserver")
    etc = own / "etc"
    shutil.copytree("/etc/trafficserver", etc)
    (own / "cache").mkdir()
    (etc / "records.config").write_text(RECORDS.format(host=place.host, port=place.port, folder=own))
    (etc / "remap.config").write_text(f"map / http://{server}/\n")
    (etc / "storage.config").write_text(f"{own / 'cache'} 64M\n")
    stage.spawn(program("traffic_server", "trafficserver"), environment={"PROXY_CONFIG_CONFIG_DIR": str(etc)})
    return place


async def main(stage: Stage) -> str:
    """Ask the suite about all."""
    folder = stage.subfolder("suite")
    ours = dict(os.environ)  # which may say how the registry is reached
    await stage.run(
        program("npm", "npm"), "install", "--prefix", folder, "--ignore-scripts", SUITE,
        environment=ours, seconds=PATIENCE,
    )  # fmt: skip
    suite = folder / "node_modules" / "http-cache-tests"
    asking = suite / "kinds.mjs"
    asking.write_text(KINDS)
    kinds = json.loads(await stage.check(program("node", "nodejs"), "--no-warnings", asking))
    server = stage.tcp()
    told = {
        "npm_config_protocol": "http", "npm_config_port": str(server.port), "npm_config_pidfile": "suite.pid",
    }  # fmt: skip
    child = stage.spawn(program("node", "nodejs"), suite / "server" / "server.mjs", environment=told)
    await child.says(rb"Listening on ")
    place = f"127.0.0.1:{server.port}"
    front, guessing = stage.tcp(), stage.tcp()
    sections = SECTIONS.format(front=front.bind, guessing=guessing.bind, server=place)
    await start(stage, sections, front)
    said: list[str] = []
    unknown: list[str] = []
    caches = {"proxyd": front, "proxyd that guesses": guessing}
    for name, begin in (("nginx", nginx), ("Varnish", varnish), ("Traffic Server", traffic_server)):
        caches[name] = begin(stage, place)
    for name, where in caches.items():
        await stage.until(partial(is_there, where), name)
        results = await found(stage, suite, where)
        parts = []
        for kind in ("required", "optimal", "check"):
            passed, wrong = tally(kinds, results, kind)
            parts.append(f"{passed} of {passed + len(wrong)} {kind}")
            if name.startswith("proxyd") and kind != "check":
                for test in wrong:
                    print(f"{name}: {test} ({kind}): {results[test]}")
                known = (*KNOWN, GUESSED) if name == "proxyd" else tuple(KNOWN)
                unknown += [f"{name}: {test}" for test in wrong if not test.startswith(known)]
        said.append(f"{name} {', '.join(parts)}")
    assert not unknown, f"wanted, and not done: {unknown}"
    return "; ".join(said)


if __name__ == "__main__":
    prove(main)
