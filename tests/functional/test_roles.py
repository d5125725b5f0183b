"""Do clients follow the primary when another server becomes it?"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import Service, mariadb, postgres_program, postgresql, postgresql_replica, redis
from tests.support.stage import Place, program

# What is awaited is what a server says, however late: on a busy machine that may take a second.
EVERY = "interval=2s timeout=1900ms fast=100ms slow=100ms fall=1 rise=1"


class RolesCase(DaemonCase):
    """A daemon before two servers, a and b, that leads to the one with the role."""

    async def leading(self, check: str, *services: Service) -> Daemon:
        return await self.relay(*(service.place for service in services), pool=f"check = {check} {EVERY}")

    async def turns(self, daemon: Daemon, server: str, state: str, why: str = "") -> None:
        """Wait until a server has come into this state, for this reason."""
        await daemon.child.says(rf"server {server} \S+ is {state}: {why}".encode())


class PostgreSql(RolesCase):
    """A primary, and a standby that replicates from it by streaming."""

    async def psql(self, place: Place, sql: str) -> bytes:
        return await self.stage.check(
            postgres_program("psql"), "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1",
            "-h", place.host, "-p", str(place.port), "-U", "postgres", "-c", sql,
        )  # fmt: skip

    async def test_promotion(self) -> None:
        """The primary is killed and the standby promoted: clients find it, with all that was committed."""
        primary = await postgresql(self.stage)
        replica = await postgresql_replica(self.stage, primary)
        await self.psql(primary.place, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await self.psql(primary.place, "SELECT pg_reload_conf()")
        daemon = await self.leading("pgsql user=postgres role=primary", primary, replica)
        await self.turns(daemon, "b", "down", r"is replica, not primary \(first check\)")
        await self.turns(daemon, "a", "up")
        await self.psql(daemon.front, "CREATE TABLE kept AS SELECT 7 AS n")
        await primary.child.stop()
        await self.turns(daemon, "a", "down", "connection refused")
        await self.psql(replica.place, "SELECT pg_promote()")
        await self.turns(daemon, "b", "up")
        self.assertEqual(await self.psql(daemon.front, "SELECT n, pg_is_in_recovery() FROM kept"), b"7|f\n")

    async def test_readers(self) -> None:
        """A pool for readers leads to the standby, until it is promoted."""
        primary = await postgresql(self.stage)
        replica = await postgresql_replica(self.stage, primary)
        daemon = await self.leading("pgsql user=postgres role=replica", primary, replica)
        await self.turns(daemon, "a", "down", r"is primary, not replica \(first check\)")
        await self.turns(daemon, "b", "up")
        self.assertEqual(await self.psql(daemon.front, "SELECT pg_is_in_recovery()"), b"t\n")
        await self.psql(replica.place, "SELECT pg_promote()")
        await self.turns(daemon, "b", "down", "is primary, not replica")


class MariaDb(RolesCase):
    """A server and its replica by GTID, and a Galera cluster of two."""

    async def sql(self, service: Service, sql: str) -> bytes:
        return await self.stage.check(
            program("mariadb", "mariadb-client"), "--no-defaults", f"--socket={service.folder}/sock",
            "--user=root", "-N", feed=sql.encode(),
        )  # fmt: skip

    async def through(self, daemon: Daemon, sql: str) -> bytes:
        """What a client gets for this."""
        return await self.stage.check(
            program("mariadb", "mariadb-client"), "--no-defaults", "--protocol=tcp", "-N", "--user=probe",
            "--password=secret", f"--host={daemon.front.host}", f"--port={daemon.front.port}", "test",
            feed=sql.encode(),
        )  # fmt: skip

    async def test_read_only(self) -> None:
        """The source is made read-only and the replica is not any more: clients follow."""
        source = await mariadb(self.stage, "--server-id=1", "--log-bin=log", name="source")
        replica = await mariadb(
            self.stage, "--server-id=2", "--log-bin=log", "--read-only", "--skip-slave-start", name="replica"
        )
        await self.sql(source, "GRANT REPLICATION SLAVE ON *.* TO probe")
        await self.sql(
            replica,
            f"CHANGE MASTER TO MASTER_HOST='{source.place.host}', MASTER_PORT={source.place.port},"
            " MASTER_USER='probe', MASTER_PASSWORD='secret', MASTER_USE_GTID=no; RESET MASTER;",
        )
        where = (await self.sql(source, "SHOW MASTER STATUS")).decode().split()
        await self.sql(
            replica, f"CHANGE MASTER TO MASTER_LOG_FILE='{where[0]}', MASTER_LOG_POS={where[1]}; START SLAVE;"
        )
        check = 'mysql user=probe password=secret query="SELECT @@read_only" expect=0'
        daemon = await self.leading(check, source, replica)
        await self.turns(daemon, "b", "down", r"answered 1 to the query \(first check\)")
        await self.turns(daemon, "a", "up")
        await self.through(daemon, "CREATE TABLE kept AS SELECT 7 AS n")
        where = (await self.sql(source, "SET GLOBAL read_only = 1; SHOW MASTER STATUS")).decode().split()
        await self.turns(daemon, "a", "down", "answered 1 to the query")
        caught_up = await self.sql(replica, f"SELECT MASTER_POS_WAIT('{where[0]}', {where[1]}, 60) >= 0")
        self.assertEqual(caught_up, b"1\n")
        await self.sql(replica, "STOP SLAVE; SET GLOBAL read_only = 0")
        await self.turns(daemon, "b", "up")
        self.assertEqual(await self.through(daemon, "SELECT n, @@server_id FROM kept"), b"7\t2\n")

    async def node(self, name: str, place: Place, cluster: str, *options: str) -> Service:
        """A node of a Galera cluster, which talks to the others at the place."""
        provider = Path("/usr/lib/galera/libgalera_smm.so")
        if not provider.exists():
            raise SkipTest("Galera is missing: it is in the Debian package galera-4 (make services)")
        soon = "evs.keepalive_period=PT0.2S;evs.suspect_timeout=PT0.6S;evs.inactive_timeout=PT1.2S;"
        soon += "evs.inactive_check_period=PT0.2S"
        return await mariadb(
            self.stage, "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON",
            f"--wsrep-provider={provider}", f"--wsrep-cluster-address=gcomm://{cluster}",
            f"--wsrep-node-address={place.host}", "--wsrep-sst-method=skip",
            f"--wsrep-provider-options=gmcast.listen_addr=tcp://{place};gcache.size=1M;{soon}", *options,
            name=name,
        )  # fmt: skip

    async def test_wsrep_ready(self) -> None:
        """A node of a Galera cluster that has lost its quorum is down until it has one, though it answers."""
        here, there = self.stage.tcp(), self.stage.tcp()
        first = await self.node("first", here, "", "--wsrep-new-cluster")
        second = await self.node("second", there, str(here))
        await first.child.says(rb"primary = yes, bootstrap = no, my_idx = \d, memb_num = 2")
        check = """mysql user=probe password=secret query="SHOW STATUS LIKE 'wsrep_ready'" """
        daemon = await self.leading(check + 'expect="wsrep_ready ON"', first)
        await self.turns(daemon, "a", "up")
        await second.child.stop()
        await self.turns(daemon, "a", "down", "answered wsrep_ready OFF to the query")
        await self.sql(first, "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
        await daemon.child.says(rb"(?s)server a \S+ is down: .* server a \S+ is up: ")
        self.assertEqual(await self.through(daemon, "SELECT 1"), b"1\n")


class Redis(RolesCase):
    """A master and its replica."""

    async def cli(self, place: Place, *words: str) -> bytes:
        return await self.stage.check(
            program("redis-cli", "redis-tools"), "-h", place.host, "-p", str(place.port), *words
        )

    async def test_promotion(self) -> None:
        """The master is killed and the replica made master: clients find it, with what was replicated."""
        master, replica = await redis(self.stage), await redis(self.stage)
        await self.cli(replica.place, "REPLICAOF", master.place.host, str(master.place.port))
        daemon = await self.leading("redis role=master", master, replica)
        await self.turns(daemon, "b", "down", r"is replica, not master \(first check\)")
        await self.turns(daemon, "a", "up")
        await replica.child.says(rb"MASTER <-> REPLICA sync: Finished with success")
        answers = await self.stage.check(
            program("redis-cli", "redis-tools"), "-h", daemon.front.host, "-p", str(daemon.front.port),
            feed=b"SET kept 7\nWAIT 1 0\n",
        )  # fmt: skip
        self.assertEqual(answers, b"OK\n1\n")
        await master.child.stop()
        await self.turns(daemon, "a", "down", "connection refused")
        await self.cli(replica.place, "REPLICAOF", "NO", "ONE")
        await self.turns(daemon, "b", "up")
        self.assertEqual(await self.cli(daemon.front, "GET", "kept"), b"7\n")

    async def test_master_comes_back(self) -> None:
        """A master that comes back as a replica of the one that took its place gets no clients."""
        master, replica = await redis(self.stage), await redis(self.stage)
        daemon = await self.leading("redis role=master", master)
        await self.turns(daemon, "a", "up")
        await self.cli(master.place, "REPLICAOF", replica.place.host, str(replica.place.port))
        await self.turns(daemon, "a", "down", "is replica, not master")
