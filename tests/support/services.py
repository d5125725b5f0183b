"""
Which real servers do the tests put behind the daemon, and which other proxies before it?

Each function starts one on a stage, on an address of its own and with all its data in the stage's folder,
and returns when it serves.  A server that refuses root runs as the user that its package has made.  What
a server says is waited for, so nothing is tried in a loop.
"""

from __future__ import annotations

import glob
import os
import socket
import sys
from pathlib import Path
from typing import Optional, Sequence

from attrs import frozen
from twisted.trial.unittest import SkipTest

from tests.support.authority import Issued
from tests.support.certificate import key_and_certificate
from tests.support.stage import PYTHONPATH, Child, Place, Stage, program


@frozen
class Service:
    """A server that runs: where, and as which process."""

    place: Place
    child: Child
    folder: Path


def postgres_program(name: str) -> str:
    """The newest PostgreSQL's program of that name; Debian keeps them out of the PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    if not found:
        raise SkipTest(f"{name} is missing: it is in the Debian package postgresql (make services)")
    return found[-1]


async def postgresql(stage: Stage, *settings: str, access: str = "") -> Service:
    """
    PostgreSQL, with a superuser ``postgres`` who needs no password.

    ``settings`` are of its configuration, and ``access`` is all of pg_hba.conf if others have it otherwise.
    """
    place = stage.tcp()
    folder = stage.subfolder("postgresql", "postgres")
    await stage.check(
        postgres_program("initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8",
        "--locale=C", "--pgdata", folder / "data",
        user="postgres",
    )  # fmt: skip
    if access:
        (folder / "data" / "pg_hba.conf").write_text(access)
    child = _postgres(stage, place, folder, settings)
    await child.says(rb"database system is ready to accept connections")
    return Service(place, child, folder)


async def postgresql_replica(stage: Stage, primary: Service) -> Service:
    """A standby of that PostgreSQL, which replicates from it by streaming, and answers queries."""
    place = stage.tcp()
    folder = stage.subfolder("postgresql-replica", "postgres")
    await stage.check(
        postgres_program("pg_basebackup"), "--pgdata", folder / "data", "--write-recovery-conf", "--no-sync",
        "--checkpoint=fast", "-h", primary.place.host, "-p", str(primary.place.port), "-U", "postgres",
        user="postgres",
    )  # fmt: skip
    child = _postgres(stage, place, folder)
    await child.says(rb"started streaming WAL from primary")
    return Service(place, child, folder)


def _postgres(stage: Stage, place: Place, folder: Path, settings: Sequence[str] = ()) -> Child:
    return stage.spawn(
        postgres_program("postgres"), "-D", folder / "data", "-p", str(place.port),
        "-c", f"listen_addresses={place.host}", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off",
        *(word for setting in settings for word in ("-c", setting)),
        user="postgres",
    )  # fmt: skip


async def mariadb(stage: Stage, *options: str, name: str = "mariadb") -> Service:
    """MariaDB, with a user ``probe`` whose password is ``secret``, and a database ``test``."""
    place = stage.tcp()
    folder = stage.subfolder(name, "mysql")
    await stage.check(
        program("mariadb-install-db", "mariadb-server"), "--no-defaults", "--user=mysql", "--skip-test-db",
        "--auth-root-authentication-method=normal", f"--datadir={folder}/data",
    )  # fmt: skip
    first = folder / "first.sql"
    first.write_text(
        "CREATE USER probe IDENTIFIED BY 'secret';\nCREATE DATABASE test;\nGRANT ALL ON test.* TO probe;\n"
    )
    child = stage.spawn(
        program("mariadbd", "mariadb-server"), "--no-defaults", f"--datadir={folder}/data",
        f"--socket={folder}/sock", f"--bind-address={place.host}", f"--port={place.port}",
        f"--init-file={first}", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0",
        *options,
        user="mysql",
    )  # fmt: skip
    await child.says(rb"ready for connections")
    return Service(place, child, folder)


async def redis(stage: Stage, place: Optional[Place] = None) -> Service:
    """Redis, in memory only."""
    place = place or stage.tcp()
    child = stage.spawn(
        program("redis-server", "redis-server"), "--bind", place.host, "--port", str(place.port),
        "--save", "", "--appendonly", "no", "--tcp-backlog", "511",
    )  # fmt: skip
    await child.says(rb"Ready to accept connections")
    return Service(place, child, stage.folder)


async def redis_tls(stage: Stage, issued: Issued, ca: str) -> Service:
    """Redis that speaks nothing but TLS, with those alone who have a certificate of this authority."""
    place = stage.tcp()
    pem = issued.write(stage.folder / "redis.pem")
    child = stage.spawn(
        program("redis-server", "redis-server"), "--bind", place.host, "--port", "0",
        "--tls-port", str(place.port), "--tls-cert-file", pem, "--tls-key-file", pem,
        "--tls-ca-cert-file", ca, "--save", "", "--appendonly", "no",
    )  # fmt: skip
    await child.says(rb"Ready to accept connections")
    return Service(place, child, stage.folder)


async def slapd(stage: Stage) -> Service:
    """OpenLDAP, with a user ``cn=probe,dc=example,dc=com`` whose password is ``sesame``."""
    place = stage.tcp()
    folder = stage.subfolder("slapd")
    config = folder / "conf"
    config.write_text(
        f"pidfile {folder}/pid\ninclude /etc/ldap/schema/core.schema\n"
        f"database ldif\ndirectory {folder}\nsuffix dc=example,dc=com\n"
        "rootdn cn=probe,dc=example,dc=com\nrootpw sesame\n"
    )
    path = program("slapd", "slapd")
    child = stage.spawn(path, "-d", "stats", "-f", config, "-h", f"ldap://{place}")
    await child.says(rb"slapd starting")
    return Service(place, child, folder)


NGINX = """
{modules}
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr info;
events {{ worker_connections 4096; }}
{sections}
"""

NGINX_HTTP = """
http {{
    access_log off;
    keepalive_requests 100000;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen};
        {lines}
    }}
}}
"""

NGINX_STREAM = """
stream {{
    server {{
        listen {listen};
        {lines}
    }}
}}
"""


async def nginx(stage: Stage, place: Optional[Place] = None, name: str = "nginx") -> Service:
    """nginx, which serves the files in ``files`` of its folder and takes what is PUT there."""
    service = await nginx_http(stage, "root files; dav_methods PUT;", place=place, name=name)
    (service.folder / "files").mkdir()
    return service


async def nginx_http(
    stage: Stage, lines: str, listen: str = "", place: Optional[Place] = None, name: str = "nginx"
) -> Service:
    """nginx with one server of HTTP; ``listen`` are further parameters of that directive."""
    return await _nginx(stage, NGINX_HTTP, "", lines, listen, place, name)


async def nginx_https(
    stage: Stage, certificate_for: str, place: Optional[Place] = None, name: str = "nginx"
) -> Service:
    """
    nginx as in `nginx`, but with TLS, and with HTTP/2 for those who ask.

    It shows ``NAME.pem`` of the stage's folder to be that host.
    """
    pem = _certificate(stage, name, certificate_for)
    lines = f"root files; dav_methods PUT; ssl_certificate {pem}; ssl_certificate_key {pem};"
    lines += " ssl_protocols TLSv1.2 TLSv1.3;"
    service = await nginx_http(stage, lines, "ssl http2", place, name)
    (service.folder / "files").mkdir()
    return service


async def s_server(stage: Stage, certificate_for: str, name: str, *options: str) -> Service:
    """
    OpenSSL's own server of TLS, which answers HTTP with a page of what was agreed on.

    It shows ``NAME.pem`` of the stage's folder to be that host.
    """
    place = stage.tcp()
    pem = _certificate(stage, name, certificate_for)
    child = stage.spawn(
        program("openssl", "openssl"), "s_server", "-accept", str(place), "-cert", pem, "-key", pem, "-www",
        *options, feed=None,
    )  # fmt: skip
    await child.says(rb"^ACCEPT")
    return Service(place, child, stage.folder)


async def s_server_of(stage: Stage, issued: Issued, *options: str) -> Service:
    """The same with a certificate that was issued for it."""
    place = stage.tcp()
    pem = issued.write(stage.folder / "s_server.pem")
    child = stage.spawn(
        program("openssl", "openssl"), "s_server", "-accept", str(place), "-cert", pem, "-key", pem, "-www",
        *options, feed=None,
    )  # fmt: skip
    await child.says(rb"^ACCEPT")
    return Service(place, child, stage.folder)


def _certificate(stage: Stage, name: str, host: str) -> Path:
    pem = stage.folder / f"{name}.pem"
    pem.write_bytes(key_and_certificate(host))
    return pem


APACHE = """
ServerRoot {folder}
ServerName {host}
Listen {place}
User www-data
Group www-data
PidFile {folder}/pid
Mutex pthread
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
DocumentRoot {folder}/files
UseCanonicalName On
MaxKeepAliveRequests 0
ErrorLog /dev/stderr
LogLevel notice
LogFormat "%r" short
CustomLog {folder}/access.log short
<Directory {folder}>
    Require all granted
</Directory>
"""


async def apache(stage: Stage, name: str = "apache") -> Service:
    """Apache, which serves the files in ``files`` of its folder, and logs request lines to ``access.log``."""
    place = stage.tcp()
    folder = stage.subfolder(name)
    (folder / "files").mkdir()
    (folder / "conf").write_text(APACHE.format(folder=folder, host=place.host, place=place))
    child = stage.spawn(program("apache2", "apache2-bin"), "-X", "-d", folder, "-f", folder / "conf")
    await stage.until(lambda: _listens(place), "Apache, which says nothing as a single process")
    return Service(place, child, folder)


def _listens(place: Place) -> bool:
    try:
        place.socket().close()
    except ConnectionRefusedError:
        return False
    return True


async def gunicorn(stage: Stage, name: str = "gunicorn") -> Service:
    """gunicorn with the application of `tests.support.webclients`, and connections that are kept."""
    place = stage.tcp()
    folder = stage.subfolder(name)
    child = stage.spawn(
        sys.executable, "-m", "gunicorn", "--bind", str(place), "--worker-class", "gthread", "--threads", "8",
        "--no-control-socket", "tests.support.webclients:app",
        environment={"PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    await child.says(rb"Booting worker")
    return Service(place, child, folder)


async def nginx_stream(
    stage: Stage, lines: str, listen: str = "", place: Optional[Place] = None, name: str = "nginx"
) -> Service:
    """nginx with one server of streams; Debian has that module in a package of its own."""
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if not module.exists():
        raise SkipTest("nginx has no stream module: it is in the Debian package libnginx-mod-stream")
    return await _nginx(stage, NGINX_STREAM, f"load_module {module};", lines, listen, place, name)


async def _nginx(
    stage: Stage, section: str, modules: str, lines: str, listen: str, place: Optional[Place], name: str
) -> Service:
    place = place or stage.tcp()
    folder = stage.subfolder(name)
    config = folder / "conf"
    sections = section.format(folder=folder, listen=f"{place} {listen}", lines=lines)
    config.write_text(NGINX.format(modules=modules, folder=folder, sections=sections))
    child = stage.spawn(program("nginx", "nginx"), "-p", folder, "-c", config)
    await child.says(rb"getrlimit\(RLIMIT_NOFILE\)")  # said once the sockets are open
    return Service(place, child, folder)


HAPROXY = """
global
    nbthread 1
    log stdout format raw local0
defaults
    log global
    timeout connect 30s
    timeout client 30s
    timeout server 30s
listen front
    bind fd@{fd} {bind}
    {lines}
"""

HAPROXY_FD = 7


def haproxy(stage: Stage, *lines: str, bind: str = "", ipv6: bool = False, name: str = "haproxy") -> Service:
    """
    HAProxy with one ``listen`` section of these lines; ``bind`` are further parameters of that directive.

    It says nothing once it serves, so its socket is opened here: clients may come at once.
    """
    place = stage.tcp6() if ipv6 else stage.tcp()
    folder = stage.subfolder(name)
    config = folder / "conf"
    config.write_text(HAPROXY.format(fd=HAPROXY_FD, bind=bind, lines="\n    ".join(lines)))
    with socket.create_server(
        (place.host, place.port), family=socket.AF_INET6 if ipv6 else socket.AF_INET
    ) as skt:
        child = stage.spawn(
            program("haproxy", "haproxy"), "-db", "-f", config, fds={HAPROXY_FD: skt.fileno()}
        )
    return Service(place, child, folder)


SSHD = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
"""


async def sshd(stage: Stage) -> Service:
    """OpenSSH's server, which lets in who has the key ``user`` of its folder, as ourselves."""
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # Debian's init script makes it, and nobody else does
    place = stage.tcp()
    folder = stage.subfolder("sshd")
    for key in ("host", "user"):
        await stage.check(
            program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", folder / key
        )
    config = folder / "conf"
    config.write_text(SSHD.format(folder=folder))
    child = stage.spawn(
        program("sshd", "openssh-server"), "-D", "-e", "-f", config,
        "-o", f"ListenAddress={place.host}", "-p", str(place.port),
    )  # fmt: skip
    await child.says(rb"Server listening on")
    return Service(place, child, folder)


async def iperf3(stage: Stage) -> Service:
    """iperf3's server."""
    place = stage.tcp()
    child = stage.spawn(
        program("iperf3", "iperf3"), "--server", "--forceflush", "--bind", place.host,
        "--port", str(place.port),
    )  # fmt: skip
    await child.says(rb"Server listening on")
    return Service(place, child, stage.folder)


class Dnsmasq:
    """
    dnsmasq, which knows what is below ``example`` and refuses all else.

    ``hosts`` are the addresses of names, and `answer` changes them.  TTLs are ``ttl`` seconds.
    """

    def __init__(self, stage: Stage, ttl: int = 1) -> None:
        self.place = stage.tcp()  # it is of this test alone in UDP, too
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.records: list[str] = []  # as its options have them: srv-host=... and cname=...
        self.child: Optional[Child] = None
        self._stage = stage
        self._ttl = ttl
        self._folder = stage.subfolder("dnsmasq")

    async def start(self) -> None:
        """Start it, or start it anew with other ``records``."""
        if self.child is not None:
            await self.child.stop()
        self._write()
        self.child = self._stage.spawn(
            program("dnsmasq", "dnsmasq-base"), "--keep-in-foreground", "--conf-file=/dev/null",
            "--no-resolv", "--no-hosts", f"--addn-hosts={self._folder}/hosts", "--pid-file=",
            "--log-facility=-", "--user=", f"--port={self.place.port}", "--bind-interfaces",
            f"--listen-address={self.place.host}", "--local=/example/", f"--local-ttl={self._ttl}",
            *(f"--{record}" for record in self.records),
        )  # fmt: skip
        await self.child.says(rb"read .*hosts - \d+ names")

    def answer(self, **hosts: tuple[str, ...]) -> None:
        """Have it know these hosts of ``example``, and no others."""
        self.hosts = {f"{name}.example": addresses for name, addresses in hosts.items()}
        self._write()
        assert self.child is not None
        self.child.signal("HUP")

    def _write(self) -> None:
        lines = [f"{address} {name}\n" for name, addresses in self.hosts.items() for address in addresses]
        written = self._folder / "new"
        written.write_text("".join(lines))
        written.rename(self._folder / "hosts")
