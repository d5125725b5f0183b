"""What does ``root =`` mean?"""

from __future__ import annotations

from proxyd.config.static import StaticSpec
from tests.config.ini import IniCase

WEB = "[listener web]\nbind = tcp:80\nprotocol = http\n{}\n"


class StaticTests(IniCase):
    def test_read(self) -> None:
        """A folder, beside the ini file if it is not given in full, and how it is served."""
        for text, expected in (
            ("/srv/www", StaticSpec("/srv/www")),
            ("www", StaticSpec(f"{self.folder}/www")),
            (
                "/srv/www index=a.html,b.htm precompressed=br,gzip symlinks dotfiles",
                StaticSpec("/srv/www", ("a.html", "b.htm"), ("br", "gzip"), True, True),
            ),
        ):
            found = self.load(WEB.format(f"root = {text}"))
            self.assertEqual(found.listeners[0].http.root, expected)
        route = "[route a]\nlistener = web\npath = /a\nrewrite = /a /\nroot = /srv/a\n"
        found = self.load(WEB.format("root = /srv/www") + route)
        self.assertEqual(found.listeners[0].routes[0].action.root, StaticSpec("/srv/a"))

    def test_refused(self) -> None:
        """What cannot be served so is refused with what would be right."""
        for text, problem in (
            ("symlinks", '"symlinks" is not a folder; write /srv/www, for example'),
            ("index=a", '"index=a" is not a folder; write /srv/www, for example'),
            ("/a index=../b", 'index: "../b" is not the name of a file; write index.html, for example'),
            ("/a index=a/b", 'index: "a/b" is not the name of a file; write index.html, for example'),
            ("/a precompressed=gz", 'precompressed: "gz" is not known; did you mean "gzip"?'),
            ("/a symlinks=yes", "symlinks takes no value; write symlinks alone"),
            ("/a symlink", '"symlink" is not known; did you mean "symlinks"?'),
        ):
            found = self.problems(WEB.format(f"root = {text}"))
            self.assertEqual(found, [f"proxy.ini:4: [listener web] root: {problem}"])

    def test_beside(self) -> None:
        """Files are instead of servers, and of requests."""
        pool = "[pool p]\nserver a = 10.0.0.1:80\n"
        self.assertEqual(
            self.problems(WEB.format("root = /a\npool = p") + pool),
            ["proxy.ini:4: [listener web] root: cannot be beside pool; a route can have either"],
        )
        tcp = "[listener t]\nbind = tcp:80\nprotocol = tcp\npool = p\nroot = /a\n"
        self.assertEqual(
            self.problems(tcp + pool),
            ["proxy.ini:5: [listener t] root: is for a listener with protocol = http"],
        )
