"""Does what is too long for the memory get to the disk while it comes, once, for all who want it?"""

from __future__ import annotations

import gc
import os
from typing import Any
from unittest.mock import patch

from proxyd.errors import Reason
from proxyd.frontends.http.bodies import UNWRITTEN
from proxyd.frontends.http.disk import MOST_COMING
from proxyd.frontends.http.diskfiles import NewFile
from tests.frontends.http.caches import ETAG, FRESH, DiskCase, answer, get
from tests.support.streams import FakePeer

SIZE = 200_000  # bytes of memory
BODY = b"".join(b"%09d\n" % number for number in range(150_000))
ENDLESS = b"HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n" + FRESH + b"\r\n"


class Spilled(DiskCase):
    """A cache whose memory is a fraction of what it stores."""

    def begin(self, **spec: Any) -> None:
        self.store(size=SIZE, **{"max_object": 4 << 20, **spec})

    def files(self) -> list[str]:
        """The names of those in the folder, and of which folder those are that are not whole."""
        found = [(at, name) for at, _, names in os.walk(self.folder) for name in names]
        return sorted("new" if os.path.basename(at) == "new" else name for at, name in found)

    def come(self, rounds: int = 60) -> None:
        """Let all that is under way go on."""
        for _ in range(rounds):
            self.settle()

    def body_of(self, client: FakePeer) -> bytes:
        status, _, body = self.told(client)
        self.assertEqual(status, 200)
        return body

    def test_once_for_all(self) -> None:
        """Who asks while it comes reads from the file what has come; it is held in no memory, and stays."""
        for framing in ("length", "chunks"):
            self.begin()
            clients = [self.ask(), self.ask()]
            if framing == "length":
                whole = answer(BODY, FRESH, ETAG)
            else:
                whole = ENDLESS + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
            self.server.send(whole[:700_000])
            self.come(9)
            self.assertEqual(self.files(), ["new"])
            clients.append(self.ask())
            slow = self.client()
            slow.stop_reading()
            self.say(slow, get())
            clients.append(slow)
            self.assertLess(self.cache.filling.used, 3 * UNWRITTEN)
            self.server.send(whole[700_000:])
            self.come()
            last = self.ask()
            slow.read_again()
            self.come()
            for client in (*clients, last):
                said = self.body_of(client)
                if framing == "chunks" and client is not last:
                    said = b"".join(part.partition(b"\r\n")[2] for part in _chunks(said))
                self.assertTrue(said == BODY)
            self.assertEqual(len(self.datapath.peers), 1)
            self.assertEqual(sorted(self.words()), ["coalesced", "coalesced", "coalesced", "hit", "miss"])
            self.assertEqual(len(self.files()), 1)
            self.assertLess(self.cache.store.used, 10_000)
            self.over()
            self.begin()  # as after a restart
            client = self.ask(get(b"Range: bytes=9-1000008"))
            self.come(9)
            self.assertTrue(self.told(client)[2] == BODY[9:1000009])
            self.assertEqual((self.words()[-1], len(self.datapath.peers)), ("hit", 1))
            self.cache.purge_url(b"http://example.com/x")
            self.come(3)
            self.assertEqual(self.files(), [])
            self.over()
            self.datapath.peers.clear()
            self.notebook.requests.clear()

    def test_the_server_waits_for_the_disk(self) -> None:
        """Where threads do nothing the server is read no further, though its clients take all there is."""
        self.begin()
        client = self.ask()
        self.say(self.server, answer(BODY, FRESH))
        for _ in range(20):
            self.moment()
        self.assertLess(len(BODY) - self.server.queued, 3 * UNWRITTEN)
        self.pass_time(120)
        self.assertEqual(self.outcomes(), [])
        self.come()
        self.assertTrue(self.body_of(client) == BODY)
        self.over()

    def test_nobody_waits(self) -> None:
        """When all have left, it is stored all the same."""
        self.begin()
        client = self.ask()
        self.say(self.server, answer(BODY, FRESH))
        client.reset()
        self.come()
        client = self.ask()
        self.come(9)
        self.assertTrue(self.body_of(client) == BODY)
        self.assertEqual((self.words()[-1], len(self.datapath.peers)), ("hit", 1))
        self.over()

    def test_broken(self) -> None:
        """What its server does not complete is cut for all who read it, and leaves no file."""
        self.begin()
        clients = [self.ask(), self.ask()]
        self.say(self.server, answer(BODY, FRESH)[:900_000])
        self.come(9)
        self.server.close()
        self.come()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)] * 2)
        for client in clients:
            self.assertTrue(BODY.startswith(self.body_of(client)))
        self.assertEqual((self.files(), len(self.cache.disk or ())), ([], 0))
        self.over()

    def test_purged_while_it_comes(self) -> None:
        """What is purged meanwhile goes to those who read it, and is not stored."""
        for how in ("url", "tag", "end"):
            self.begin()
            client = self.ask()
            whole = answer(BODY, FRESH)
            self.say(self.server, whole[:-1])
            self.come()
            if how == "end":
                self.say(self.server, whole[-1:])
                self.cache.purge_tag(b"t")
            else:
                purge = self.cache.purge_url if how == "url" else self.cache.purge_tag
                purge(b"http://example.com/x")
                self.say(self.server, whole[-1:])
            self.come()
            self.assertTrue(self.body_of(client) == BODY)
            self.assertEqual((self.files(), len(self.cache.store)), ([], 0))
            self.over()
            self.datapath.peers.clear()

    def test_no_room(self) -> None:
        """What has no room on the disk, from the beginning or while it comes, is passed on."""
        for framing in (b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY), b"\r\n" + BODY):
            self.begin(disk_size=1_000_000, max_object=1_000_000)
            client = self.ask()
            self.server.send(b"HTTP/1.1 200 OK\r\nDate: then\r\n" + FRESH + framing)
            self.server.finish()
            self.come()
            self.assertIn(BODY[-50:], self.heard(client))
            self.assertEqual((self.files(), len(self.cache.disk or ())), ([], 0))
            self.over()
            self.datapath.peers.clear()

    def test_a_disk_that_fails(self) -> None:
        """If it cannot be written any more, those who read it get all of it, and it is not stored."""
        for name in ("begin", "add", "finish"):
            self.begin()
            clients = [self.ask(), self.ask()]
            with patch.object(NewFile, name, side_effect=OSError(28, "No space left on device")):
                self.say(self.server, answer(BODY, FRESH))
                self.come()
            for client in clients:
                self.assertTrue(self.body_of(client) == BODY, name)
            self.assertEqual((self.files(), len(self.cache.store)), ([], 0))
            self.over()
            self.datapath.peers.clear()

    def test_one_who_stops_when_the_disk_fails(self) -> None:
        """Who is far behind then has what it wants still."""
        self.begin()
        slow, quick = self.client(), self.ask()
        slow.stop_reading()
        self.say(slow, get())
        self.say(self.server, answer(BODY, FRESH)[:700_000])
        self.come(9)
        with patch.object(NewFile, "add", side_effect=OSError(28, "No space left on device")):
            self.say(self.server, answer(BODY, FRESH)[700_000:])
            self.come(9)
        self.assertEqual(self.files(), [])
        slow.read_again()
        self.come()
        for client in (slow, quick):
            self.assertTrue(self.body_of(client) == BODY)
        self.over()

    def test_shortened(self) -> None:
        """If somebody makes its file shorter, those who are behind are cut, and it is not stored."""
        self.begin()
        slow = self.client()
        slow.stop_reading()
        self.say(slow, get())
        whole = answer(BODY, FRESH)
        self.say(self.server, whole[:900_000])
        self.come(9)
        (path,) = [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]
        os.truncate(path, 5000)
        slow.read_again()
        self.come(9)
        self.say(self.server, whole[900_000:])
        self.come()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)])
        self.assertTrue(BODY.startswith(self.body_of(slow)))
        self.assertEqual((self.files(), len(self.cache.store)), ([], 0))
        self.over()

    def test_shortened_while_the_server_waits(self) -> None:
        """The same while the disk is behind: the server does not wait for ever then."""
        self.begin()
        slow = self.client()
        slow.stop_reading()
        self.say(slow, get())
        whole = answer(BODY, FRESH)
        self.say(self.server, whole[:900_000])
        self.come(9)
        (path,) = [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]
        os.truncate(path, 5000)
        self.say(self.server, whole[900_000:])
        self.moment()
        self.assertGreater(self.server.queued, 0)
        slow.read_again()
        self.moment()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)])
        self.come()
        self.assertEqual((self.files(), len(self.cache.disk or ()), self.factory.streams), ([], 0, set()))
        self.over()

    def test_cannot_be_read(self) -> None:
        """Where the disk does not give back what it took, who is behind is cut at once."""
        self.begin()
        slow = self.client()
        slow.stop_reading()
        self.say(slow, get())
        self.say(self.server, answer(BODY, FRESH))
        self.come()
        with patch("os.pread", side_effect=OSError(5, "Input/output error")):
            slow.read_again()
            self.come(3)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)])
        self.over()

    def test_its_file_is_closed(self) -> None:
        """What is purged takes no room of the disk any more when all have read it, without a collection."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for how in ("stored", "broken"):
            self.begin()
            before = len(os.listdir("/proc/self/fd"))
            client = self.ask()
            self.say(self.server, answer(BODY, FRESH)[: 900_000 if how == "broken" else None])
            self.come()
            if how == "broken":
                self.server.close()
            self.body_of(client)
            self.cache.purge_url(b"http://example.com/x")
            client.close()
            self.come(3)
            self.assertEqual(len(os.listdir("/proc/self/fd")), before, how)
            self.over()
            self.datapath.peers.clear()

    def test_next_after_a_purge(self) -> None:
        """Who asks after a purge is not told to go alone: the next answer may well be stored."""
        self.begin()
        first = self.ask()
        self.say(self.server, answer(BODY, FRESH)[:-1])
        self.come()
        old = self.server
        self.cache.purge_url(b"http://example.com/x")
        self.say(old, BODY[-1:])
        self.come()
        clients = [self.ask(), self.ask()]
        self.say(self.server, answer(b"new", FRESH))
        self.come(3)
        self.assertTrue(self.body_of(first) == BODY)
        self.assertEqual([self.body_of(client) for client in clients], [b"new", b"new"])
        self.assertEqual(sorted(self.words()), ["coalesced", "miss", "miss"])
        self.over()

    def test_many(self) -> None:
        """Beyond a number of them they are passed on; that a cache ends leaves none behind."""
        self.begin(disk_size=1 << 30)
        for number in range(MOST_COMING + 1):
            self.ask(get(target=b"/%d" % number))
            self.say(self.server, answer(BODY, FRESH)[:50_000])
        disk = self.cache.disk
        assert disk is not None
        self.assertEqual((len(disk), disk.snapshot().skipped), (MOST_COMING, 1))
        self.come(3)
        self.assertEqual(self.files(), ["new"] * MOST_COMING)
        self.over()
        self.come(1)
        self.begin()
        self.assertEqual(self.files(), [])
        self.over()

    def moment(self) -> None:
        """A turn in which no thread does anything."""
        self.clock.advance(0)
        self.network.flush()


def _chunks(said: bytes) -> list[bytes]:
    """The chunks of a body, each with its length in front."""
    found = []
    while said:
        size, _, rest = said.partition(b"\r\n")
        length = int(size, 16)
        found.append(size + b"\r\n" + rest[:length])
        said = rest[length + 2 :]
    return found
