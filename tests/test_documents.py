"""Do the documents still speak of what is there?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

from tests.support.case import Case

ROOT = Path(__file__).resolve().parent.parent

KINDS = ("feature", "fix", "doc", "removal", "misc")
FRAGMENT = re.compile(rf"[a-z][a-z0-9_-]*\.(?:{'|'.join(KINDS)})")

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:proxyd|tests|etc|docs|changes|twisted|\.ci)/[\w./-]+)`")
MAKE = re.compile(r"(?:^|`|\$ |sudo )make ([a-z][a-z0-9]*)", re.MULTILINE)
TARGET = re.compile(r"^([a-z0-9]+):", re.MULTILINE)


def documents() -> list[Path]:
    """List all pages."""
    return sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changes/*.md")))


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, made as forges make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> Iterator[str]:
    """Yield the links of a page that lead to no file, or to no heading of it."""
    for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        if not target.exists():
            yield link
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield link


class Pages(Case):
    """What a page points at exists."""

    def test_links(self) -> None:
        """Each link between the pages leads somewhere."""
        broken = [f"{path.relative_to(ROOT)}: {link}" for path in documents() for link in broken_links(path)]
        self.assertEqual(broken, [])

    def test_broken_links_are_found(self) -> None:
        """A link to a page or a heading that does not exist would be noticed."""
        page = Path(self.mktemp()).with_suffix(".md")
        page.write_text(
            "# One `two`, three\n[good](#one-two-three) [bad](#four) [gone](gone.md) [far](https://example.com/)\n"
            "```\n[a listing](nowhere)\n```\n",
            encoding="utf-8",
        )
        self.assertEqual(list(broken_links(page)), ["#four", "gone.md"])

    def test_paths(self) -> None:
        """Each file that is named in code letters exists."""
        gone = [
            f"{page.relative_to(ROOT)}: {path}"
            for page in documents()
            for path in PATH.findall(page.read_text(encoding="utf-8"))
            if not (ROOT / path).exists()
        ]
        self.assertEqual(gone, [])

    def test_proofs(self) -> None:
        """The page of what was proved has a line for each proof."""
        page = (ROOT / "docs" / "proofs.md").read_text(encoding="utf-8")
        proofs = {path.name for path in (ROOT / "tests" / "proof").glob("[a-z]*.py")}
        self.assertEqual(set(re.findall(r"^\| `tests/proof/(\w+\.py)` \|", page, re.MULTILINE)), proofs)

    def test_targets(self) -> None:
        """Each ``make`` command that is named exists."""
        known = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
        named = {target for page in documents() for target in MAKE.findall(page.read_text(encoding="utf-8"))}
        self.assertTrue(named)
        self.assertEqual(named - known, set())

    def test_targets_are_explained(self) -> None:
        """`make help` has a line for each target."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        self.assertEqual(
            TARGET.findall(makefile), re.findall(r"^([a-z0-9]+):.*## \S", makefile, re.MULTILINE)
        )


class Fragments(Case):
    """What the next changelog is made of."""

    def fragments(self) -> list[Path]:
        """List what is in the folder beside its README."""
        return sorted(path for path in (ROOT / "changes").iterdir() if path.name != "README.md")

    def test_names(self) -> None:
        """A fragment is named by a word and a known kind."""
        self.assertEqual([path.name for path in self.fragments() if not FRAGMENT.fullmatch(path.name)], [])

    def test_text(self) -> None:
        """A fragment says something, in whole sentences."""
        texts = {path.name: path.read_text(encoding="utf-8").strip() for path in self.fragments()}
        self.assertEqual([name for name, text in texts.items() if not text.endswith(".")], [])

    def test_kinds_are_explained(self) -> None:
        """The folder's README has a line for each kind, and for no other."""
        readme = (ROOT / "changes" / "README.md").read_text(encoding="utf-8")
        self.assertEqual(tuple(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)), KINDS)
