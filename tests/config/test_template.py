"""Is a text with places taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.template import Template, template
from proxyd.config.words import Invalid
from tests.support.case import Case

KNOWN = ("host", "path")


class Templates(Case):
    """Texts, well and badly written."""

    def test_parts(self) -> None:
        """Each place has what stands before it; a brace is written twice."""
        found = template("https://{host}/{{a}}{path}!", KNOWN)
        self.assertEqual(
            found, Template((("https://", "host"), ("/{", ""), ("a}", ""), ("", "path"), ("!", "")))
        )
        self.assertEqual(found.names, {"host", "path"})
        self.assertEqual(str(found), "https://{host}/{{a}}{path}!")
        self.assertEqual(template("{header.x}", KNOWN, lambda name: name == "header.x").names, {"header.x"})

    def test_wrong(self) -> None:
        """What stands for nothing is said, and what would be right."""
        for text, problem in [
            ("{hots}", '{hots}: "hots" is not known; did you mean "host"?'),
            ("{}", '{}: "" is not known; known here: host, path'),
            ("{host:>10}", "{host...}: a name stands alone between its braces"),
            ("{host!r}", "{host...}: a name stands alone between its braces"),
            ("{host", '"{host" has a brace that is not closed; a brace itself is written twice'),
            ("host}", '"host}" has a brace that is not closed; a brace itself is written twice'),
        ]:
            with self.assertRaises(Invalid) as caught:
                template(text, KNOWN)
            self.assertEqual(str(caught.exception), problem)
