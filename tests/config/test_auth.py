"""Is what an operator writes of who may ask taken for what is meant, and their file as well?"""

from __future__ import annotations

from proxyd.config import list_problems
from proxyd.config.auth import BasicSpec, ForwardSpec, read_users
from proxyd.errors import Problem
from tests.config.test_condition import WEB, HttpCase

HASH = "$2y$05$" + "a" * 53
POOL = "pool = p\n"


class AuthTests(HttpCase):
    def test_basic(self) -> None:
        """A file, relative to that of the configuration, and what browsers show."""
        for text, spec in [
            ("basic file:users", BasicSpec(f"{self.folder}/users")),
            ("basic file:/x/users realm='My files'", BasicSpec("/x/users", "My files")),
        ]:
            self.assertEqual(self.route(f"{POOL}auth = {text}").action.auth, spec)

    def test_forward(self) -> None:
        """A URL, and which fields go where; names are in lower case."""
        for text, spec in [
            ("http://auth.internal/verify", ForwardSpec("http://auth.internal/verify")),
            (
                "https://[::1]:9000 timeout=2s send=Cookie,X-A copy=X-User",
                ForwardSpec("https://[::1]:9000", 2.0, ("cookie", "x-a"), ("x-user",)),
            ),
        ]:
            self.assertEqual(self.route(f"{POOL}forward_auth = {text}").action.forward_auth, spec)

    def test_refused(self) -> None:
        """What cannot be used is said with its line and what would be right."""
        for option, problem in [
            ("auth = digest file:x", 'auth: "digest" is not known; known here: basic'),
            ("auth = basic", "auth: names no file; write basic file:/etc/proxyd/users, for example"),
            ("auth = basic x", "auth: names no file; write basic file:/etc/proxyd/users, for example"),
            (
                "auth = basic file:x realm='a\"b'",
                'auth: realm: "a"b" is not up to 100 letters of ASCII, without quotes and backslashes',
            ),
            ("auth = basic file:x cost=3", 'auth: "cost" is not known; known here: realm'),
            (
                "forward_auth = auth:9000",
                'forward_auth: "auth:9000" is not a URL, such as http://auth.internal:9000/verify',
            ),
            (
                "forward_auth = http://a/b c",
                'forward_auth: "c" is not known; known here: timeout, send, copy',
            ),
            ("forward_auth = http://a copy=a:b", 'forward_auth: copy: "a:b" is not the name of a field'),
            (
                "forward_auth = http://a copy=Content-Length",
                "forward_auth: copy: Content-Length is made by the proxy itself, for each message",
            ),
            (
                "auth = basic file:x\nforward_auth = http://a",
                "forward_auth: cannot be beside auth; one of them decides who may ask",
            ),
        ]:
            line = 2 + option.count("\n")
            self.assertEqual(self.refused(f"{POOL}{option}"), [f"{line} {problem}"])

    def test_check(self) -> None:
        """What is wrong in the files that routes need is found by ``proxyctl check``."""
        self.write("alice:secret\n", "users")
        one = "[route r]\nlistener = l\npath = /x\nrespond = 200 file:gone.html\n"
        other = "[route s]\nlistener = l\nhost = a\nauth = basic file:users\npool = p\n"
        config = self.load(WEB + one + other)
        self.assertEqual(
            [self.local(str(problem)) for problem in list_problems(config)],
            [
                "gone.html: cannot be read: No such file or directory",
                'users:1: the password of "alice" is not hashed by bcrypt; set it by htpasswd -B',
            ],
        )


class UsersTests(HttpCase):
    def read_them(self, text: str) -> tuple[dict[bytes, bytes], list[str]]:
        problems: list[Problem] = []
        users = read_users(self.write(text, "users"), problems)
        return users, [self.local(str(problem)) for problem in problems]

    def test_read(self) -> None:
        """Names and hashes, with comments and empty lines between."""
        users, problems = self.read_them(f"# ours\nalice:{HASH}\n\n  bob:{HASH}  \r\nélise:{HASH}")
        self.assertEqual(problems, [])
        self.assertEqual(list(users), [b"alice", b"bob", "élise".encode()])
        self.assertEqual(users[b"alice"], HASH.encode())

    def test_refused(self) -> None:
        """A line that lets nobody in is told of, and never repeats a password."""
        for line, problem in [
            ("alice", "is not a name, a colon, and the hash of a password"),
            (f":{HASH}", "is not a name, a colon, and the hash of a password"),
            (f"a b:{HASH}", "is not a name, a colon, and the hash of a password"),
            ("alice:secret", 'the password of "alice" is not hashed by bcrypt; set it by htpasswd -B'),
            ("a:$apr1$x$y", 'the password of "a" is not hashed by bcrypt; set it by htpasswd -B'),
            (f"a:{HASH}:x", 'the password of "a" is not hashed by bcrypt; set it by htpasswd -B'),
            ("a:" + HASH.replace("05", "15"), 'the password of "a" has the cost 15; it may be 4 to 14'),
            ("a:" + HASH.replace("05", "03"), 'the password of "a" has the cost 3; it may be 4 to 14'),
            (f"b:{HASH}", '"b" is there twice'),
        ]:
            self.assertEqual(self.read_them(f"b:{HASH}\n{line}\n")[1], [f"users:2: {problem}"])
        self.assertEqual(self.read_them("# nobody\n")[1], ["users: has no users"])
