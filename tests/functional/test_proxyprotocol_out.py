"""Do HAProxy and nginx behind the daemon learn from its PROXY header who the client is?"""

from __future__ import annotations

from typing import Any

from proxyd.wire.proxyprotocol import End
from tests.support.certificate import HOST, key_and_certificate
from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import haproxy, nginx_http, nginx_stream
from tests.support.stage import Place, program

HEADERS = ("v1", "v2", "v2 alpn authority ssl unique_id crc32c")
CHECK = "check = tcp interval=2s"

# What they answer with: the client, whom it has connected to, and from HAProxy two TLVs.
HAPROXY_SEES = (
    "http-request return status 200 content-type text/plain"
    ' lf-string "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"'
)
NGINX_SEES = (
    "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"
)


class Behind(DaemonCase):
    """A daemon before other proxies, which answer with what they know."""

    async def serve(self, server: Place, *headers: str, listener: str = "") -> Daemon:
        """A daemon with a listener on IPv4 and one on IPv6 for each of these headers; it has checked once."""
        self.fronts = [
            (header, front)
            for header in headers or HEADERS
            for front in (self.stage.tcp(), self.stage.tcp6())
        ]
        sections = [
            f"[listener l{number}]\nbind = {front.bind}\npool = p{number}\n{listener}\n"
            f"[pool p{number}]\nserver a = {server}\nproxy_protocol = {header}\n{CHECK}"
            for number, (header, front) in enumerate(self.fronts)
        ]
        daemon = await self.start("\n".join(sections), self.fronts[0][1])
        for number in range(len(self.fronts)):  # the first checks are over
            await daemon.child.says(rb"\[pool p%d\] server a \(\S+\) is up" % number)
        return daemon

    async def fetch(self, *arguments: Any) -> tuple[str, list[str]]:
        """Fetch a page with curl; return its own address, and the words of the page."""
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", "--http1.1",
            "--write-out", "\n%{local_ip} %{local_port}", *arguments,
        )  # fmt: skip
        page, client = out.decode().splitlines()
        return written(*client.split()), page.split(" ")


def written(host: str, port: str) -> str:
    """An address as it stands in the access log."""
    return str(End(host, int(port)))


class Haproxy(Behind):
    """HAProxy with accept-proxy."""

    async def test_addresses(self) -> None:
        """
        It sees the client's own address and the one that this has connected to, of either family.

        Of our checks, which say that they speak for nobody, it says nothing.
        """
        server = haproxy(self.stage, "mode http", HAPROXY_SEES, bind="accept-proxy")
        daemon = await self.serve(server.place)
        for number, (_, front) in enumerate(self.fronts, 1):
            client, page = await self.fetch(f"http://{front}/")
            self.assertEqual([written(*page[:2]), written(*page[2:4])], [client, str(front)])
            record = (await daemon.records(number))[-1]
            self.assertEqual(page[4:], ["", record["unique_id"]])
        self.assertRegex(record["unique_id"], "^[0-9a-f]{32}$")
        await self.stage.until(
            lambda: server.child.out.count(b"Connect from") == len(self.fronts), "HAProxy's log"
        )
        self.assertNotIn(b"PROXY protocol", server.child.out)  # as it says of a check without a header

    async def test_tls(self) -> None:
        """With TLS passed through it gets the name that was asked for; and what curl tells of itself."""
        pem = self.stage.folder / "both.pem"
        pem.write_bytes(key_and_certificate())
        server = haproxy(self.stage, "mode http", HAPROXY_SEES, bind=f"accept-proxy ssl crt {pem}")
        daemon = await self.serve(
            server.place,
            "v2 authority unique_id",
            listener="tls = passthrough\nproxy_protocol = optional 127.0.0.0/8 ::1",
        )
        number = 0
        for _, front in self.fronts:
            for own in ([], ["--haproxy-protocol"]):
                number += 1
                client, page = await self.fetch(
                    *own, "--cacert", pem, "--connect-to", f"::{front}", f"https://{HOST}:{front.port}/"
                )
                record = (await daemon.records(number))[-1]
                self.assertEqual(
                    (written(*page[:2]), record["client"], record["sni"]), (client, client, HOST)
                )
                self.assertEqual(record["via"], client if own else "")
                self.assertEqual(page[4:], [HOST, record["unique_id"]])


class Nginx(Behind):
    """nginx with proxy_protocol."""

    async def test_http(self) -> None:
        """Its http module sees the client's own address and the one that this has connected to."""
        server = await nginx_http(self.stage, f'return 200 "{NGINX_SEES}";', "proxy_protocol")
        await self.serve(server.place)
        for _, front in self.fronts:
            client, page = await self.fetch(f"http://{front}/")
            self.assertEqual([written(*page[:2]), written(*page[2:])], [client, str(front)])
        self.assertNotIn(b"[error]", server.child.err)

    async def test_kept_connections(self) -> None:
        """Requests of a client go to it on one connection, on which that client is told of, and no other."""
        server = await nginx_http(
            self.stage, 'return 200 "$connection $proxy_protocol_port ";', "proxy_protocol"
        )
        daemon = await self.relay(
            server.place, listener="protocol = http", pool="proxy_protocol = v2\nidle_connection_timeout = 1s"
        )
        curl = (program("curl", "curl"), "--silent", "--fail", f"http://{daemon.front}/?[1-20]")
        said = [(await self.stage.check(*curl)).split() for _ in range(2)]
        self.assertEqual([(len(words), len(set(words))) for words in said], [(40, 2)] * 2)
        ports = [record["client"].rpartition(":")[2] for record in await daemon.records(40)]
        self.assertEqual([words[1].decode() for words in said], [ports[0], ports[-1]])

    async def test_stream(self) -> None:
        """
        So does its stream module, which speaks first: the header does not wait for the client.

        A check without a header would be a broken one to it.
        """
        server = await nginx_stream(self.stage, f'return "{NGINX_SEES}";', "proxy_protocol")
        daemon = await self.serve(server.place)
        for number, (_, front) in enumerate(self.fronts, 1):
            client = self.stage.connect(front)
            page = (await client.sees_end()).decode().split(" ")
            client.close()
            record = (await daemon.records(number))[-1]
            self.assertEqual([written(*page[:2]), written(*page[2:])], [record["client"], str(front)])
        await self.stage.until(
            lambda: server.child.err.count(b" connected to ") >= 2 * len(self.fronts), "nginx's log"
        )
        self.assertNotIn(b"[error]", server.child.err)
