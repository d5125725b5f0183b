"""What did the operator ask of a cache?"""

from __future__ import annotations

from proxyd.config import load
from proxyd.config.cache import CacheSpec
from tests.config.ini import IniCase

FRONT = """
[listener web]
bind = tcp:80
protocol = http
pool = p
%s

[pool p]
server a = 10.0.0.1:80
"""


class Caches(IniCase):
    def test_values(self) -> None:
        """Sizes, times and words are what they say; listeners and routes name it."""
        text = """
[cache pages]
size = 512M
max_object = 10M
heuristic = 10%
targeted = CDN-Cache-Control
negative = 404=10s 301=1h
stale_while_revalidate = 30s
stale_if_error = 1h
request_directives = no
ignore_set_cookie = yes
query = sort
ignore_parameters = utm_* fbclid
lock_timeout = 2s
status_header = no

[route r]
listener = web
path = /a
pool = p
cache = off
"""
        config = load(self.write(FRONT % "cache = pages" + text), {})
        (cache,) = config.caches
        self.assertEqual(
            cache,
            CacheSpec(
                "pages",
                512 << 20,
                10 << 20,
                10,
                ("cdn-cache-control",),
                ((404, 10.0), (301, 3600.0)),
                30.0,
                3600.0,
                False,
                True,
                "sort",
                ("utm_*", "fbclid"),
                2.0,
                False,
            ),
        )
        (listener,) = config.listeners
        self.assertEqual(listener.http.cache, "pages")
        self.assertEqual(listener.routes[0].action.cache, "off")

    def test_what_is_wrong(self) -> None:
        """Each is told with what would be right."""
        for option, text in (
            ("max_object = 128M", "max_object: is more than size, so nothing of that length could be stored"),
            (
                "path = /var/cache/p\nmax_object = 2G",
                "max_object: is more than disk_size, so nothing of that length could be stored",
            ),
            ("negative = 404", 'negative: "404" is not a status and a time, such as `404=10s`'),
            ("negative = 206=1s", "negative: 206 is of no use alone, and never stored"),
            ("negative = 404=1s 404=2s", "negative: 404 is given twice"),
            ("negative = 404=1", 'negative: "1" has no unit; for seconds write "1s"'),
            ("targeted = a:b", 'targeted: "a:b" is not the name of a field'),
            ("heuristic = 200%", 'heuristic: "200%" is not a whole number and %, 0% to 100%'),
        ):
            found = self.problems(FRONT % "cache = pages" + f"\n[cache pages]\n{option}\n")
            self.assertEqual(len(found), 1, found)
            self.assertTrue(found[0].endswith(text), found[0])

    def test_folders(self) -> None:
        """Each cache has a folder of its own, and room there only if it has one."""
        two = "".join(f"[cache {name}]\npath = /var/cache/p\n" for name in ("pages", "others"))
        found = self.problems(FRONT % "cache = pages" + "\n" + two)
        self.assertIn("path: is that of [cache pages], too; each needs a folder of its own", found[0])
        for option in ("disk_size", "disk_index"):
            found = self.problems(FRONT % "cache = pages" + f"\n[cache pages]\n{option} = 1G\n")
            self.assertIn(f"{option}: is of a folder, and there is none", found[0])

    def test_references(self) -> None:
        """One that is not there is missed, and whoever speaks no HTTP has nothing to store."""
        found = self.problems(FRONT % "cache = pages")
        self.assertIn('"pages" is not known', found[0])
        text = FRONT.replace("protocol = http", "protocol = tcp") % "cache = pages" + "[cache pages]\n"
        self.assertIn("is for a listener with protocol = http", self.problems(text)[0])
        route = "[route r]\nlistener = web\nredirect = 301 /b\npath = /a\ncache = pages\n[cache pages]\n"
        self.assertIn("is about a server", self.problems(FRONT % "" + route)[0])
