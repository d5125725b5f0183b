"""
What does a public suite of tests of RFC 9111 find in our cache, and in three others?

It is http-cache-tests of the registry of npm (https://cache-tests.fyi), which wants node and the network; it
has a server that answers as each test wants, and a client that looks at what comes through.  Of what it
requires all must hold but what `KNOWN` has, with why; what it calls optimal, or only looks at, is counted.
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
[cache pages]
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

# What it requires and we do not do, by the beginning of its name.
KNOWN = {
    "age-parse-": "an Age that is none made an answer stale in RFC 7234; by RFC 9111, 5.1, it is not heeded",
    "stale-close-": "it takes our page of 502 for the stored answer, as that has no field of its server",
    "headers-store-Set-Cookie": "what is for one is not stored, as with nginx and Varnish",
    "headers-store-Transfer-Encoding": "a framing that nobody knows is refused",
    "304-etag-update-response-ETag": "a 304 about another tag is not believed, but the whole asked for",
    "304-etag-update-response-Set-Cookie": "what is for one is not stored",
}

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
    daemon = await start(stage, SECTIONS.format(front=(front := stage.tcp()).bind, server=place), front)
    said = []
    caches = {"proxyd": daemon.front}
    for name, begin in (("nginx", nginx), ("Varnish", varnish), ("Traffic Server", traffic_server)):
        caches[name] = begin(stage, place)
    for name, where in caches.items():
        await stage.until(partial(is_there, where), name)
        results = await found(stage, suite, where)
        parts = []
        for kind in ("required", "optimal", "check"):
            passed, wrong = tally(kinds, results, kind)
            parts.append(f"{passed} of {passed + len(wrong)} {kind}")
            if name == "proxyd" and kind == "required":
                for test in wrong:
                    print(f"{test}: {results[test]}")
                unknown = [test for test in wrong if not test.startswith(tuple(KNOWN))]
        said.append(f"{name} {', '.join(parts)}")
    assert not unknown, f"required, and not done: {unknown}"
    return "; ".join(said)


if __name__ == "__main__":
    prove(main)
