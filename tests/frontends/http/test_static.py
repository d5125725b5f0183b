"""Is found what is in the folder, and nothing else?"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any, Optional
from unittest.mock import patch

from twisted.internet.defer import Deferred

from proxyd.config.static import StaticSpec
from proxyd.frontends.http import static
from proxyd.frontends.http.static import FRESH, SMALL, Absent, File, Site
from tests.relay.test_sendfile import not_cached
from tests.support.case import Case


class SiteCase(Case):
    """A folder with a secret beside it."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.outer = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(shutil.rmtree, self.outer)
        self.folder = os.path.join(self.outer, "www")
        os.mkdir(self.folder)
        self.write("../secret", b"secret")
        self.write("a.html", b"<p>a")
        self.write("index.html", b"<p>index")
        self.write("sub/b.txt", b"b")

    def write(self, name: str, data: bytes, modified: Optional[int] = None) -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if modified is not None:
            os.utime(path, (modified, modified))
        return path

    def site(self, **how: Any) -> Site:
        return Site(StaticSpec(self.folder, **how), lambda: self.now, lambda work: Deferred())

    def absent(self, site: Site, path: bytes) -> int:
        """How it is answered that this is not there."""
        error = self.assertRaises(Absent, site.find, path, None)
        return int(error.status)


class Sites(SiteCase):
    def test_found(self) -> None:
        """Files, and the index of a folder."""
        site = self.site(index=("none.html", "index.html"))
        for path, body in (
            (b"/a.html", b"<p>a"),
            (b"/", b"<p>index"),
            (b"/sub/b.txt", b"b"),
            (b"/%61.html", b"<p>a"),
        ):
            self.assertEqual(site.find(path, None).body, body)
        self.assertEqual(list(site.load()), [])

    def test_absent(self) -> None:
        """What is not there, or is no file; of a folder it is told that it is one."""
        site = self.site()
        os.mkfifo(os.path.join(self.folder, "fifo"))
        self.write("sub/deep/x", b"")
        for path in (b"/none", b"/none/", b"/a.html/", b"/a.html/b", b"/sub/", b"/fifo", b"/" + b"x" * 300):
            self.assertEqual(self.absent(site, path), 404, path)
        error = self.assertRaises(Absent, site.find, b"/sub/deep", None)
        self.assertTrue(error.folder)

    def test_no_escape(self) -> None:
        """Nobody gets out, by dots or by links, unless links are wanted."""
        os.symlink("../secret", os.path.join(self.folder, "link"))
        os.symlink("..", os.path.join(self.folder, "up"))
        os.symlink("a.html", os.path.join(self.folder, "alias"))
        site = self.site()
        for path in (b"/link", b"/up/secret", b"/alias", b"/up/", b"/up/www/a.html"):
            self.assertEqual(self.absent(site, path), 404, path)
        site = self.site(symlinks=True)
        self.assertEqual(site.find(b"/link", None).body, b"secret")
        self.assertEqual(site.find(b"/up/secret", None).body, b"secret")
        self.assertEqual(site.find(b"/alias", None).body, b"<p>a")

    def test_dotfiles(self) -> None:
        """What begins with a dot is not there, unless that is wanted."""
        self.write(".env", b"key")
        self.write(".well-known/security.txt", b"ask")
        self.assertEqual(self.absent(self.site(), b"/.env"), 404)
        self.assertEqual(self.site().find(b"/.well-known/security.txt", None).body, b"ask")
        self.assertEqual(self.site(dotfiles=True).find(b"/.env", None).body, b"key")

    def test_forbidden(self) -> None:
        """What the system does not let us read is forbidden; out of descriptors, it is for later."""
        site = self.site()
        for number, status in ((13, 403), (1, 403), (24, 503)):
            with patch("os.open", side_effect=OSError(number, "no")):
                self.assertEqual(self.absent(site, b"/a.html"), status)

    def test_no_folder(self) -> None:
        """A root that is not there is told when the daemon starts."""
        site = Site(StaticSpec("/nowhere/at/all"), lambda: 0.0, lambda work: Deferred())
        self.assertEqual(list(site.load()), ["root: /nowhere/at/all: No such file or directory"])
        self.assertEqual(self.absent(site, b"/a"), 404)

    def test_remembered(self) -> None:
        """What was found is so for a moment, and seen anew then."""
        site = self.site()
        first = site.find(b"/a.html", None)
        self.write("a.html", b"<p>changed")
        self.assertIs(site.find(b"/a.html", None), first)
        self.now += FRESH
        second = site.find(b"/a.html", None)
        self.assertEqual(second.body, b"<p>changed")
        self.assertNotEqual(first.fields[2], second.fields[2])
        os.unlink(os.path.join(self.folder, "a.html"))
        self.now += FRESH
        self.assertEqual(self.absent(site, b"/a.html"), 404)

    def test_bounded(self) -> None:
        """However much is asked for, so much is remembered."""
        site = self.site()
        self.patch(static, "REMEMBERED", 10)
        self.patch(static, "HELD", 100)
        for number in range(40):
            self.write(f"f{number}", bytes(30))
            site.find(b"/f%d" % number, None)
            self.assertLessEqual(len(site._known), 10)
            self.assertLessEqual(site._held, 130)
        site.forget(b"/f39")
        site.forget(b"/f39")
        self.assertEqual(site._held, 30 * len(site._known))

    def test_precompressed(self) -> None:
        """Who takes a coding for which there is a file gets that, if it is not older."""
        site = self.site(precompressed=("br", "gzip", "zstd"))
        self.write("a.html", b"<p>a", 1000)
        self.write("a.html.br", b"brotli", 1000)
        self.write("a.html.gz", b"gzip", 999)
        for accept, body in (
            (b"br", b"brotli"),
            (b"gzip, br;q=0.5", b"brotli"),
            (b"gzip", b"<p>a"),
            (b"", b"<p>a"),
            (None, b"<p>a"),
        ):
            found = site.find(b"/a.html", accept)
            self.assertEqual(found.body, body, accept)
            self.assertIn(b"vary", [field[0] for field in found.fields])
            self.assertEqual(found.fields[0][1], b"text/html; charset=utf-8")
        self.assertNotIn(b"vary", [field[0] for field in site.find(b"/index.html", b"br").fields])
        self.assertEqual(self.site().find(b"/a.html", b"br").body, b"<p>a")

    def test_large(self) -> None:
        """What is large is not held, and is opened when it is to be sent; then it is the same, or none."""
        self.write("large", bytes(SMALL + 1))
        site = self.site()
        found: File = site.find(b"/large", None)
        self.assertEqual((found.body, found.size), (None, SMALL + 1))
        fd = found.open()
        assert fd is not None
        self.assertEqual(os.fstat(fd).st_size, SMALL + 1)
        os.close(fd)
        self.write("large", bytes(SMALL + 2))
        self.assertIsNone(found.open())
        os.unlink(os.path.join(self.folder, "large"))
        self.assertRaises(OSError, found.open)

    def test_being_written(self) -> None:
        """What changes while it is read is not remembered half."""
        path = self.write("a.html", b"<p>a")

        def cut_short(fd: int, count: int) -> bytes:
            with open(path, "ab") as file:
                file.write(b"more")
            return b"<p>a"

        with patch.object(static, "cached_part", cut_short):
            found = self.site().find(b"/a.html", None)
        self.assertEqual((found.body, found.size), (None, 8))

    def test_not_cached(self) -> None:
        """What the page cache does not have is held once it has been read, by whoever it was."""
        site = self.site()
        with patch("os.preadv", not_cached):
            self.assertEqual((site.find(b"/a.html", None).body, site.find(b"/a.html", None).size), (None, 4))
            self.now += FRESH
            self.assertEqual(site.find(b"/a.html", None).body, None)
        self.now += FRESH
        self.assertEqual(site.find(b"/a.html", None).body, b"<p>a")
