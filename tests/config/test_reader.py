"""Is what an operator writes in ini files read as it stands, and every fault found where it is?"""

from __future__ import annotations

import builtins
import os

from proxyd.config import reader
from tests.config.ini import IniCase

FAULTS: list[tuple[str | bytes, list[str]]] = [
    ("a = 1\n", ["proxy.ini:1: a: stands before the first [section] of its file"]),
    ("[]\n", ['proxy.ini:1: "[]" is not a section; write [kind] or [kind name]']),
    ("[a b c]\n", ['proxy.ini:1: "[a b c]" is not a section; write [kind] or [kind name]']),
    ("[a\nx = 1\n y\n", ['proxy.ini:1: "[a" is not a section; write [kind] or [kind name]']),
    ("[a] b\n", ['proxy.ini:1: "[a] b" is not a section; write [kind] or [kind name]']),
    ("[a]\nx\n", ['proxy.ini:2: [a] "x" is not an option; write it as: name = value']),
    ("[a]\n= x\n", ['proxy.ini:2: [a] "= x" is not an option; write it as: name = value']),
    ("[a]\nx y z = 1\n more\n", ['proxy.ini:2: [a] "x y z = 1" is not an option; write it as: name = value']),
    (
        "[a]\n  x = 1\n",
        ['proxy.ini:2: [a] "x = 1" is indented, so it belongs to the value above; options begin a line'],
    ),
    (
        "[a]\nx = 1\n  y z = 2\n",
        ['proxy.ini:3: [a] x: "y z = 2" is indented, so it belongs to the value above; options begin a line'],
    ),
    (
        "[a b]\nx = 1\n\n  ${NOPE}\n",
        ["proxy.ini:4: [a b] x: the variable NOPE is not set in the environment"],
    ),
    ("[a]\nx = 'y\nz = \\\n", [
        "proxy.ini:2: [a] x: has a quote (') that is not closed on its line",
        "proxy.ini:3: [a] z: ends with a backslash; to go on with a value, indent the next line",
    ]),
    (b"[a]\nx = \xff\n", ["proxy.ini:2: is not UTF-8 text (byte 0xff)"]),
    (b"\xef\xbb\xbf[a]\n", ["proxy.ini:1: begins with a byte order mark; save the file as plain UTF-8"]),
    (b"[a]\nx = \0\n", ["proxy.ini:2: has the control character 0x00"]),
    (b"[a]\nx = \x1b\n", ["proxy.ini:2: has the control character 0x1b"]),
    (
        b"[a]\r\nx = 1\r\n",
        ["proxy.ini:1: has a carriage return; save the file with plain line ends (LF, not CR LF)"],
    ),
]  # fmt: skip


class ReaderTests(IniCase):
    def words(self, text: str) -> list[tuple[str, str, list[tuple[str, int]]]]:
        """Section, option and words with their lines; the text must be without fault."""
        reading = self.read(text)
        self.assertEqual(reading.problems, ())
        return [
            (section.title, entry.title, [(word.text, word.line) for word in entry.words])
            for section in reading.sections
            for entry in section.entries
        ]

    def test_sections_and_options(self) -> None:
        """Names keep their case, comments may follow headers and values, blanks around = do not matter."""
        text = "; first\n[Kind Name]   ; note\nAbc=x=y\nserver  B =1 2 # note\n[ b ]\n# note\nempty =\n"
        self.assertEqual(
            self.words(text),
            [
                ("Kind Name", "Abc", [("x=y", 3)]),
                ("Kind Name", "server B", [("1", 4), ("2", 4)]),
                ("b", "empty", []),
            ],
        )

    def test_indented_lines(self) -> None:
        """A value goes on over indented lines, past comments and empty lines; each word keeps its line."""
        text = "[a]\nbind = one\n  two three\n\n; note\n   ; note\n\tfour\nb = 5\n"
        self.assertEqual(
            self.words(text),
            [("a", "bind", [("one", 2), ("two", 3), ("three", 3), ("four", 7)]), ("a", "b", [("5", 8)])],
        )

    def test_first_line_of_a_value_may_be_empty(self) -> None:
        """A value may begin on the line after its name."""
        self.assertEqual(self.words("[a]\nbind =\n  one\n"), [("a", "bind", [("one", 3)])])

    def test_no_newline_at_the_end(self) -> None:
        """The last line counts, with or without its newline."""
        self.assertEqual(self.words("[a]\nx = 1"), [("a", "x", [("1", 2)])])

    def test_odd_line_separators_do_not_split(self) -> None:
        """Only a newline ends a line, so that line numbers agree with the editor's."""
        self.assertEqual(self.words("[a]\nx = 'b\u2028c'\ny = 1\n")[1], ("a", "y", [("1", 3)]))

    def test_faults(self) -> None:
        """Each fault is reported with its line, section and option, and reading goes on after it."""
        for text, faults in FAULTS:
            self.assertEqual(self.faults(text), faults, text)

    def test_options_after_a_bad_header(self) -> None:
        """Options below a header that cannot be read are not taken for the section above it."""
        reading = self.read("[a]\nx = 1\n[b\ny = 2\n")
        self.assertEqual([entry.title for section in reading.sections for entry in section.entries], ["x"])


class IncludeTests(IniCase):
    def titles(self, text: str) -> list[str]:
        reading = self.read(text)
        self.assertEqual(reading.problems, ())
        return [
            f"{section.title}: {[entry.key for entry in section.entries]}" for section in reading.sections
        ]

    def test_in_the_middle_of_a_section(self) -> None:
        """An included file has sections of its own; the section with the include goes on after it."""
        self.write("[b]\ny = 1\n", "conf.d/b.ini")
        self.assertEqual(
            self.titles("[a]\nx = 1\ninclude = conf.d/b.ini\nz = 1\n"), ["a: ['x', 'z']", "b: ['y']"]
        )

    def test_before_the_first_section(self) -> None:
        """An include may stand before any section."""
        self.write("[b]\n", "b.ini")
        self.assertEqual(self.titles("include = b.ini\n[a]\n"), ["b: []", "a: []"])

    def test_pattern(self) -> None:
        """A pattern is sorted, and may match nothing; files are relative to the file that names them."""
        for name in ("b", "a", "c"):
            self.write(f"[{name}]\n", f"conf.d/{name}.ini")
        self.write("include = [ab].ini c.ini none*.ini\n", "conf.d/all.conf")
        self.assertEqual(self.titles("include = conf.d/*.conf\n"), ["a: []", "b: []", "c: []"])

    def test_several_lines(self) -> None:
        """Files to include may be named on several lines."""
        self.write("[a]\n", "a.ini")
        self.write("[b]\n", "b.ini")
        self.assertEqual(self.titles("include = a.ini\n  b.ini\n"), ["a: []", "b: []"])

    def test_variable(self) -> None:
        """The name of a file to include may have variables in it."""
        self.write("[a]\n", "site.ini")
        self.assertEqual(self.read("include = ${PLACE}.ini", {"PLACE": "site"}).problems, ())

    def test_files_are_listed_in_order(self) -> None:
        """The files are known in the order they were read."""
        self.write("[a]\n", "a.ini")
        files = self.read("include = a.ini").files
        self.assertEqual([self.local(path) for path in files], ["proxy.ini", "a.ini"])

    def test_folder_with_pattern_characters(self) -> None:
        """Only the pattern that is written is one, not the folder it happens to stand in."""
        self.write("[a]\n", "x[1]/a.ini")
        self.write("include = *.ini\n", "x[1]/all.conf")
        self.assertEqual(self.titles("include = 'x[[]1]/all.conf'\n"), ["a: []"])

    def test_outside_any_section(self) -> None:
        """An included file cannot add to the section that includes it."""
        self.write("y = 1\n", "b.ini")
        self.assertEqual(
            self.faults("[a]\ninclude = b.ini\n"),
            ["b.ini:1: y: stands before the first [section] of its file"],
        )

    def test_missing(self) -> None:
        """A file to include that is not there is named, with the line that asks for it."""
        self.assertEqual(
            self.faults("[a]\n\ninclude = no.ini\n"),
            ["proxy.ini:3: [a] include: no.ini: cannot be read: No such file or directory"],
        )

    def test_all_missing_files_are_named(self) -> None:
        """Of several missing files each is named."""
        self.assertEqual(len(self.faults("include = no.ini nor.ini\n")), 2)

    def test_circle(self) -> None:
        """Files that include each other are refused, with the way round."""
        self.write("include = proxy.ini\n", "a.ini")
        self.assertEqual(
            self.faults("include = a.ini\n"),
            [
                "a.ini:1: include: proxy.ini: files include each other in a circle: "
                "proxy.ini -> a.ini -> proxy.ini"
            ],
        )

    def test_circle_through_a_link(self) -> None:
        """A circle is noticed also when a link gives the file another name."""
        os.symlink("proxy.ini", os.path.join(self.folder, "link.ini"))
        self.assertIn("in a circle: proxy.ini -> link.ini", self.faults("include = link.ini\n")[0])

    def test_too_deep(self) -> None:
        """Includes within includes end at a fixed depth, with one error."""
        for depth in range(reader.MAX_DEPTH):
            self.write(f"include = {depth + 1}.ini\n", f"{depth}.ini")
        self.write("", f"{reader.MAX_DEPTH}.ini")
        faults = self.faults("include = 0.ini\n")
        self.assertEqual(len(faults), 1)
        self.assertIn(f"files include each other more than {reader.MAX_DEPTH} deep", faults[0])

    def test_too_many(self) -> None:
        """A file may be included often, but not without end."""
        self.patch(reader, "MAX_FILES", 3)
        self.write("", "a.ini")
        self.assertEqual(
            self.faults("include = a.ini a.ini\n a.ini\n"),
            ["proxy.ini:2: include: a.ini: more than 3 files are included"],
        )

    def test_bad_pattern(self) -> None:
        """A pattern that cannot be one is an error or matches nothing; it is never a traceback."""
        self.write("", "m.ini")
        for fault in self.faults("include = [z-a]*\n"):
            self.assertIn("is not a pattern of file names", fault)
        self.assertEqual(len(self.read("include = [z-a]*\n").files), 1)


class UnreadableTests(IniCase):
    def fault(self, path: str) -> str:
        reading = reader.read(path, {})
        self.assertEqual(len(reading.problems), 1)
        return self.local(str(reading.problems[0]))

    def test_missing(self) -> None:
        """A file that is not there is refused in the system's own words."""
        path = os.path.join(self.folder, "no.ini")
        self.assertEqual(self.fault(path), "no.ini: cannot be read: No such file or directory")

    def test_folder(self) -> None:
        """A folder is refused as one."""
        self.assertTrue(self.fault(self.folder).endswith(": is a folder, not a file"))

    def test_pipe(self) -> None:
        """A pipe is refused at once; to read it could wait for ever."""
        path = os.path.join(self.folder, "pipe")
        os.mkfifo(path)
        self.assertEqual(self.fault(path), "pipe: is not a regular file")

    def test_forbidden(self) -> None:
        """A file that may not be read is refused in the system's own words."""
        path = self.write("[a]\n")

        def refuse(*arguments: object) -> object:
            raise PermissionError(13, "Permission denied")

        self.patch(builtins, "open", refuse)
        self.assertEqual(self.fault(path), "proxy.ini: cannot be read: Permission denied")

    def test_name_that_no_file_has(self) -> None:
        """A name that the system cannot have is an error, not a traceback."""
        self.assertIn("cannot be read: ", self.fault("a\0b"))

    def test_too_long(self) -> None:
        """A file that is too long for a configuration is refused without reading it all."""
        path = self.write(b";" * (reader.MAX_FILE_BYTES + 1))
        self.assertIn("is longer than 1048576 bytes", self.fault(path))

    def test_as_long_as_allowed(self) -> None:
        """A file of the greatest length is read."""
        self.assertEqual(self.faults(b";" * reader.MAX_FILE_BYTES), [])
