"""
Which real servers begin TLS in the way of their protocol, or do without?

Without a certificate, which is a file with its key, they have no TLS; with one they let nobody in without.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from pathlib import Path
from typing import Optional, Sequence

from tests.support.services import Service, mariadb, postgresql
from tests.support.stage import Argument, Stage, program

USER, PASSWORD = "probe", "secret"  # as `mariadb` has them


async def postgresql_server(stage: Stage, pem: Optional[Path] = None) -> Service:
    """PostgreSQL, with a superuser ``postgres`` who needs no password."""
    if pem is None:
        return await postgresql(stage)
    own = _owned(stage, pem, "postgres")
    settings = ("ssl=on", f"ssl_cert_file={own}", f"ssl_key_file={own}")
    return await postgresql(stage, *settings, access="hostssl all all all trust\n")


async def mariadb_server(stage: Stage, pem: Optional[Path] = None, *options: str) -> Service:
    """MariaDB, with a user of that name and password."""
    if pem is None:
        return await mariadb(stage, "--skip-ssl", *options)
    own = _owned(stage, pem, "mysql")
    return await mariadb(
        stage, f"--ssl-cert={own}", f"--ssl-key={own}", "--require-secure-transport=ON", *options
    )


async def smtp_server(stage: Stage, pem: Optional[Path] = None) -> Service:
    """A mail server that prints what it is told, and the mail that it gets."""
    place = stage.tcp()
    tls: Sequence[Argument] = () if pem is None else ("--tlscert", pem, "--tlskey", pem)
    child = stage.spawn(
        sys.executable, "-u", "-m", "aiosmtpd", "-n", "-d", "-c", "aiosmtpd.handlers.Debugging",
        "-l", str(place), *tls,
    )  # fmt: skip
    await child.says(rb"Server is listening on")
    return Service(place, child, stage.folder)


async def ftp_server(stage: Stage, pem: Optional[Path] = None) -> Service:
    """An FTP server of the files in ``files`` of its folder, with a user of that name and password."""
    place = stage.tcp()
    folder = stage.subfolder("ftp")
    (folder / "files").mkdir()
    tls: Sequence[Argument] = ()
    if pem is not None:
        tls = ("--tls", "--certfile", pem, "--keyfile", pem, "--tls-control-required")
    child = stage.spawn(
        sys.executable, "-u", "-m", "pyftpdlib", "-i", place.host, "-p", str(place.port),
        "-d", folder / "files", "-u", USER, "-P", PASSWORD, "--permit-foreign-addresses", *tls,
    )  # fmt: skip
    await child.says(rb"starting FTP")
    return Service(place, child, folder)


DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
default_internal_user = {internal}
default_internal_group = {internal}
default_login_user = {login}
first_valid_uid = 1
protocols = imap
listen = {place.host}
{tls}
disable_plaintext_auth = no
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {place.port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={mail} gid={mail} home={folder}/mail
}}
mail_location = maildir:~/mail
"""


async def imap_server(stage: Stage, pem: Optional[Path] = None) -> Service:
    """Dovecot, with a mailbox for any user of that password."""
    place = stage.tcp()
    root = os.geteuid() == 0
    us = pwd.getpwuid(os.geteuid()).pw_name
    folder = stage.subfolder("dovecot", "mail")
    config = folder / "conf"
    config.write_text(
        DOVECOT.format(
            folder=folder,
            place=place,
            password=PASSWORD,
            internal="dovecot" if root else us,
            login="dovenull" if root else us,
            mail="mail" if root else us,
            tls="ssl = no" if pem is None else f"ssl = required\nssl_cert = <{pem}\nssl_key = <{pem}",
        )
    )
    child = stage.spawn(program("dovecot", "dovecot-imapd"), "-F", "-c", config)
    await child.says(rb"starting up for imap")
    return Service(place, child, folder)


def _owned(stage: Stage, pem: Path, user: str) -> Path:
    """A copy that belongs to a user, and to nobody else, as servers want their keys."""
    own = stage.folder / f"{user}.pem"
    own.touch(0o600)
    own.write_bytes(pem.read_bytes())
    if os.geteuid() == 0:
        shutil.chown(own, user, user)
    return own
