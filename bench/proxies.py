"""
How is each proxy configured and started?

As an operator would run it: connection timeouts of the same lengths, health checks where there are any (nginx
has passive ones), and a line for each connection in a file of its own.  Each is one process on one core.

On the same port of another address each passes TLS on, and reads the name in it; of a third address TLS ends,
with the same certificate; of a fourth HTTP is spoken: each tells servers of the client, passes bodies on
as they come, and keeps connections to them; of a fifth HTTP/2; and of a sixth HTTP, with answers stored.
"""

from __future__ import annotations

import datetime
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Mapping, Optional, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parent.parent

COMPILED = ROOT / ".venv-compiled"

START_SECONDS = 15.0
STOP_SECONDS = 5.0

SHOWN = 15  # lines of what it said, when it could not be started

MOST = 4000  # connections; HAProxy wants the descriptors for all of them when it starts

TLS_HOST = "127.0.0.2"  # where TLS is passed on; load.c knows it, too
HTTP_HOST = "127.0.0.4"  # where HTTP is spoken, in the same way

H2_HOST = "127.0.0.5"  # where HTTP/2 is, without TLS
FILES_HOST = "127.0.0.7"  # where files are served; load.c knows it, too
GZIP_HOST = "127.0.0.8"  # where answers are compressed

FILES = (1024, 1024**2, 1024**3)  # bytes, by which they are called

CACHE_HOST = "127.0.0.6"  # where answers of HTTP are stored, and given again

KEPT = 64  # connections to each server that wait for a request, as many as the load has clients

SECURE_HOST = "127.0.0.3"  # where it ends

CERTIFICATE = "bench.pem"  # in a proxy's folder: a key on P-256, and its certificate

Command = Sequence[str]


class Proxy:
    """A running proxy, that leads from ``port`` to the servers."""

    def __init__(self, name: str, folder: Path, servers: Sequence[str], core: int, checked: int = 0) -> None:
        """Start it on a core, and wait until it relays; so many servers it only checks."""
        self.name = name
        self.folder = folder / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.port = free_port()
        make_certificate(self.folder / CERTIFICATE)
        command = PROXIES[name](self.folder, self.port, servers)
        if checked:
            name_of_file, text = CHECKED[name](servers, checked)
            with open(self.folder / name_of_file, "a", encoding="utf-8") as config:
                config.write(text)
        with open(self.folder / "out.log", "wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        self._wait_until_it_relays()
        self.pid = self._worker()

    def memory(self) -> int:
        """The bytes of its memory that are in RAM."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)
        assert found is not None
        return int(found.group(1)) * 1024

    def stop(self) -> None:
        """End it; what it has open is cut."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_it_relays(self) -> None:
        end = time.monotonic() + START_SECONDS
        ready = serves if self.name in CACHES else relays
        while not ready(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "out.log").read_text(errors="replace").splitlines()[-SHOWN:]
                self.stop()
                raise NotRunning("\n".join([f"{self.name} does not relay:", *said]))
            time.sleep(0.05)

    def _worker(self) -> int:
        """The process that does the work: nginx has a master, which does not."""
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return int(children[0]) if children else own


class NotRunning(Exception):
    """A proxy could not be started."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as skt:
        skt.bind(("127.0.0.1", 0))
        port: int = skt.getsockname()[1]
        return port


def make_certificate(path: Path) -> None:
    """Write a key and a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bench.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )


def relays(port: int) -> bool:
    """Whether an echo comes back from behind this port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as skt:
            skt.sendall(b"e")
            return skt.recv(1) == b"e"
    except OSError:
        return False


def serves(port: int) -> bool:
    """Whether what answers are stored of answers on this port."""
    try:
        with socket.create_connection((CACHE_HOST, port), 2) as skt:
            skt.sendall(b"GET / HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n")
            return skt.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def executable(name: str) -> str:
    """Where a program is, also one that only root has on its path."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotRunning(f"{name} is not installed")
    return found


def most() -> int:
    """How many connections this host's limit on descriptors allows, at two each."""
    return min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 64)


def proxyd(folder: Path, port: int, servers: Sequence[str], datapath: str = "lane") -> Command:
    """Our daemon: access log, metrics, and a TCP check."""
    config = folder / "proxy.ini"
    config.write_text(
        "[proxyd]\naccess_log = access.log\nmetrics = unix:metrics.sock\ndrain_timeout = 1s\n"
        f"datapath = {datapath}\n"
        f"[listener front]\nbind = tcp:{port}:interface=127.0.0.1\npool = servers\n"
        f"[listener tls]\nbind = tcp:{port}:interface={TLS_HOST}\npool = servers\ntls = passthrough\n"
        f"[listener secure]\nbind = tcp:{port}:interface={SECURE_HOST}\npool = servers\n"
        f"tls = {folder / CERTIFICATE}\n"
        f"[listener http]\nbind = tcp:{port}:interface={HTTP_HOST} tcp:{port}:interface={H2_HOST}\n"
        "pool = servers\nprotocol = http\n"
        "max_requests = 1000000\n"
        f"[listener cache]\nbind = tcp:{port}:interface={CACHE_HOST}\npool = servers\nprotocol = http\n"
        "max_requests = 1000000\ncache = pages\n[cache pages]\nnegative = 200=1h\n"
        f"[listener files]\nbind = tcp:{port}:interface={FILES_HOST}\nprotocol = http\n"
        f"root = {files(folder)}\nmax_requests = 1000000\n"
        f"[listener gzip]\nbind = tcp:{port}:interface={GZIP_HOST}\nprotocol = http\npool = servers\n"
        "compression = gzip max_cpu=100%\nmax_requests = 1000000\n"
        f"[pool servers]\ncheck = tcp\nmax_idle_connections = {KEPT}\n"
        + "".join(f"server s{number} = {server}\n" for number, server in enumerate(servers))
    )
    twistd = Path(sys.executable).with_name("twistd")
    return [str(twistd), "-n", "--pidfile=", "tcpproxy", "--config", str(config)]


def files(folder: Path) -> Path:
    """The folder of files, which all proxies have in common, so that they are once in the page cache."""
    made = folder.parent / "files"
    made.mkdir(exist_ok=True)
    for size in FILES:
        with open(made / str(size), "ab") as file:
            file.truncate(size)
    return made


def stock(folder: Path, port: int, servers: Sequence[str]) -> Command:
    """Our daemon on Twisted's transports."""
    return proxyd(folder, port, servers, datapath="stock")


def compiled(folder: Path, port: int, servers: Sequence[str]) -> Command:
    """Our daemon with its hot modules compiled (``make compiled``)."""
    twistd = COMPILED / "bin" / "twistd"
    if not twistd.exists():
        raise NotRunning("compiled: there is no build of it (make compiled)")
    # Without the path to the sources.
    return ["env", "--unset=PYTHONPATH", str(twistd), *proxyd(folder, port, servers)[1:]]


def haproxy(folder: Path, port: int, servers: Sequence[str]) -> Command:
    """HAProxy: one thread, splice-auto, option tcplog to a file, and a TCP check."""
    config = folder / "haproxy.cfg"
    config.write_text(
        f"global\n  nbthread 1\n  maxconn {most()}\n  log stdout format raw local0\n"
        "defaults\n  mode tcp\n  log global\n  option tcplog\n  option splice-auto\n"
        "  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n  timeout tunnel 10m\n"
        f"frontend front\n  bind 127.0.0.1:{port}\n  default_backend servers\n"
        f"frontend tls\n  bind {TLS_HOST}:{port}\n  tcp-request inspect-delay 5s\n"
        "  tcp-request content accept if { req.ssl_hello_type 1 }\n  tcp-request content reject\n"
        "  use_backend servers if { req.ssl_sni -m found }\n"
        f"frontend secure\n  bind {SECURE_HOST}:{port} ssl crt {folder / CERTIFICATE}\n"
        "  default_backend servers\n"
        f"frontend http\n  mode http\n  option httplog\n  option forwardfor\n  bind {HTTP_HOST}:{port}\n"
        f"  bind {H2_HOST}:{port} proto h2\n  default_backend http\n"
        "cache pages\n  total-max-size 64\n  max-object-size 1048576\n  max-age 3600\n"
        f"frontend cache\n  mode http\n  option httplog\n  bind {CACHE_HOST}:{port}\n"
        "  http-request cache-use pages\n  http-response cache-store pages\n  default_backend http\n"
        "backend http\n  mode http\n  balance roundrobin\n  http-reuse always\n"
        + "".join(f"  server s{number} {server} check inter 5s\n" for number, server in enumerate(servers))
        + "backend servers\n  balance roundrobin\n"
        + "".join(f"  server s{number} {server} check inter 5s\n" for number, server in enumerate(servers))
    )
    return [executable("haproxy"), "-db", "-f", str(config)]


def haproxy_splice(folder: Path, port: int, servers: Sequence[str]) -> Command:
    """
    HAProxy, made to splice always, and through pipes as large as ours.

    With splice-auto it rarely finds that a stream is fast enough to be spliced, which would flatter us.
    """
    command = haproxy(folder, port, servers)
    config = folder / "haproxy.cfg"
    text = config.read_text().replace(
        "option splice-auto\n", "option splice-request\n  option splice-response\n"
    )
    config.write_text(text.replace("global\n", "global\n  tune.pipesize 1048576\n", 1))
    return command


def nginx(folder: Path, port: int, servers: Sequence[str]) -> Command:
    """The stream module of nginx: one worker, and an access log."""
    program = executable("nginx")
    built = subprocess.run([program, "-V"], stderr=subprocess.PIPE, text=True, check=True).stderr
    modules = re.search(r"--modules-path=(\S+)", built)
    module = Path(modules.group(1) if modules else "modules") / "ngx_stream_module.so"
    load = f"load_module {module};\n" if re.search(r"--with-stream=dynamic", built) else ""
    if load and not module.exists():
        raise NotRunning("nginx has no stream module (libnginx-mod-stream)")
    upstream = "".join(f"    server {server};\n" for server in servers)
    config = folder / "nginx.conf"
    config.write_text(
        f"{load}daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log error.log;\n"
        f"worker_rlimit_nofile {2 * most() + 64};\nevents {{\n  worker_connections {2 * most()};\n}}\n"
        "stream {\n"
        "  log_format basic '$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received '\n"
        "                   '$session_time $upstream_addr';\n"
        "  access_log access.log basic;\n"
        f"  upstream servers {{\n{upstream}  }}\n"
        f"  server {{\n    listen 127.0.0.1:{port};\n    proxy_pass servers;\n"
        "    proxy_connect_timeout 5s;\n    proxy_timeout 10m;\n  }\n"
        f"  server {{\n    listen {TLS_HOST}:{port};\n    ssl_preread on;\n    proxy_pass servers;\n"
        "    proxy_connect_timeout 5s;\n    proxy_timeout 10m;\n  }\n"
        f"  server {{\n    listen {SECURE_HOST}:{port} ssl;\n    proxy_pass servers;\n"
        f"    ssl_certificate {CERTIFICATE};\n    ssl_certificate_key {CERTIFICATE};\n"
        "    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_session_cache shared:bench:1m;\n"
        "    proxy_connect_timeout 5s;\n    proxy_timeout 10m;\n  }\n"
        "}\n"
        + "http {\n  access_log http.log;\n  client_max_body_size 0;\n  keepalive_requests 1000000;\n"
        + "".join(
            f"  {kind}_temp_path {kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body")
        )
        + f"  upstream servers {{\n{upstream}    keepalive {KEPT};\n    keepalive_requests 1000000;\n  }}\n"
        "  proxy_cache_path cache keys_zone=pages:8m max_size=64m;\n"
        f"  server {{\n    listen {CACHE_HOST}:{port};\n    location / {{\n"
        "      proxy_pass http://servers;\n      proxy_http_version 1.1;\n"
        "      proxy_set_header Connection '';\n      proxy_set_header Host $http_host;\n"
        "      proxy_cache pages;\n      proxy_cache_valid 200 1h;\n    }\n  }\n"
        "  map $http_upgrade $connection_upgrade {\n    default upgrade;\n    '' '';\n  }\n"
        f"  server {{\n    listen {FILES_HOST}:{port};\n    sendfile on;\n    tcp_nopush on;\n"
        f"    root {files(folder)};\n  }}\n"
        f"  server {{\n    listen {GZIP_HOST}:{port};\n    gzip on;\n    gzip_comp_level 1;\n"
        "    gzip_types application/json;\n    gzip_proxied any;\n"
        "    location / {\n      proxy_pass http://servers;\n      proxy_http_version 1.1;\n"
        "      proxy_set_header Connection '';\n    }\n  }\n"
        f"  server {{\n    listen {HTTP_HOST}:{port};\n"
        f"    listen {H2_HOST}:{port} http2;\n    location / {{\n      proxy_pass http://servers;\n"
        "      proxy_http_version 1.1;\n      proxy_request_buffering off;\n"
        "      proxy_set_header Host $http_host;\n"
        "      proxy_set_header Connection $connection_upgrade;\n"
        "      proxy_set_header Upgrade $http_upgrade;\n"
        "      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }\n  }\n}\n"
    )
    return [program, "-p", str(folder), "-e", "error.log", "-c", str(config)]


def varnish(folder: Path, port: int, servers: Sequence[str]) -> Command:
    """
    Varnish, which stores answers and does nothing else of what is measured here; in memory.

    It has no file of a line for each request, but a log in shared memory, which nobody reads here.
    """
    config = folder / "cache.vcl"
    backends = [server.rpartition(":") for server in servers]
    config.write_text(
        "vcl 4.1;\nimport directors;\n"
        + "".join(
            f'backend s{number} {{ .host = "{host}"; .port = "{place}"; }}\n'
            for number, (host, _, place) in enumerate(backends)
        )
        + "sub vcl_init {\n  new servers = directors.round_robin();\n"
        + "".join(f"  servers.add_backend(s{number});\n" for number in range(len(backends)))
        + "}\nsub vcl_recv { set req.backend_hint = servers.backend(); }\n"
        "sub vcl_backend_response { set beresp.ttl = 1h; }\n"
    )
    return [
        executable("varnishd"), "-F", "-n", str(folder / "varnish"), "-f", str(config), "-s", "malloc,64m",
        "-a", f"{CACHE_HOST}:{port}", "-T", "none", "-j", "none",
        "-p", "backend_idle_timeout=1",  # what it keeps would be taken for what others have left
    ]  # fmt: skip


def proxyd_checked(servers: Sequence[str], count: int) -> tuple[str, str]:
    """
    The file and the lines for a pool whose checks last until their time is over.

    They wait for what an echo never says, for all but a tenth of a second of their interval.
    """
    lines = [f"server s{number} = {servers[number % len(servers)]}\n" for number in range(count)]
    check = "check = script expect=nothing interval=5s timeout=4900ms\n"
    return "proxy.ini", "[pool checked]\n" + check + "".join(lines)


def haproxy_checked(servers: Sequence[str], count: int) -> tuple[str, str]:
    """The same for HAProxy."""
    lines = [
        f"  server s{number} {servers[number % len(servers)]} check inter 5s\n" for number in range(count)
    ]
    check = "  option tcp-check\n  tcp-check expect string nothing\n  timeout check 4900ms\n"
    return "haproxy.cfg", "backend checked\n" + check + "".join(lines)


def version(name: str) -> Optional[str]:
    """What a peer says of its version, or None if it is not there."""
    try:
        said = subprocess.run(
            [executable(name), "-V" if name == "varnishd" else "-v"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout
    except (NotRunning, OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\d+\.\d+\.\d+[^\s)]*", said)
    return found.group() if found else None


PROXIES: Mapping[str, Callable[[Path, int, Sequence[str]], Command]] = {
    "proxyd": proxyd,
    "stock": stock,
    "compiled": compiled,
    "haproxy": haproxy,
    "haproxy-splice": haproxy_splice,
    "nginx": nginx,
    "varnish": varnish,
}

# nginx has no checks of its own.
CHECKED: Mapping[str, Callable[[Sequence[str], int], tuple[str, str]]] = {
    "proxyd": proxyd_checked,
    "stock": proxyd_checked,
    "compiled": proxyd_checked,
    "haproxy": haproxy_checked,
}

PEERS = ("haproxy", "haproxy-splice", "nginx", "varnish")

CACHES = ("varnish",)  # which relay nothing, and are measured where answers are stored
