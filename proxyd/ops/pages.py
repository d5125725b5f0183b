"""
How does the daemon serve small pages of its own?

They are read only: GET and HEAD are answered, other methods get a 405, a request's body is thrown away
as it arrives (twisted.web would keep it in memory or in a temporary file), and nothing is logged.
"""

from __future__ import annotations

from io import BytesIO
from typing import Optional, Union

from twisted.internet.interfaces import IReactorTime
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
IDLE_SECONDS = 60.0  # longer than most scrapers' interval, so that their connection is kept


class Page(Resource):
    """A page that answers for every path it is asked for; subclasses override `content`."""

    isLeaf = True

    def __init__(self, text: str, content_type: str = TEXT, status: int = http.OK) -> None:
        super().__init__()
        self._text = text
        self._content_type = content_type
        self._status = status

    def content(self, request: Request) -> tuple[int, str, bytes]:
        """The status, the content type and the body of the answer."""
        return self._status, self._content_type, self._text.encode()

    def render(self, request: Request) -> Union[bytes, int]:
        if request.method in (b"GET", b"HEAD"):
            status, content_type, body = self.content(request)
        else:
            status, content_type, body = http.NOT_ALLOWED, TEXT, b"405: only GET and HEAD are answered here\n"
            request.setHeader("Allow", "GET, HEAD")
        return self.begin(request, status, content_type, body)

    def begin(self, request: Request, status: int, content_type: str, body: bytes) -> bytes:
        """Say what is coming, and return what of the body is to be sent."""
        request.setResponseCode(status)
        request.setHeader("Content-Type", content_type)
        request.setHeader("Content-Length", str(len(body)))
        return b"" if request.method == b"HEAD" else body


class Directory(Resource):
    """Pages by their name; the page named ``""`` is the first one, and any other path is a 404."""

    def __init__(self, pages: dict[str, Page]) -> None:
        super().__init__()
        self._pages = {name.encode(): page for name, page in pages.items()}
        self._missing = Page("404: there is no such page\n", status=http.NOT_FOUND)

    def getChild(self, path: bytes, request: Request) -> Page:
        return self._missing if request.postpath else self._pages.get(path, self._missing)


class BodilessRequest(Request):
    """A request whose body is not kept."""

    def gotLength(self, length: Optional[int]) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Thrown away."""


class QuietSite(Site):
    """A site that logs nothing and closes a connection that is idle for `IDLE_SECONDS`."""

    noisy = False

    def __init__(self, root: Resource, reactor: IReactorTime) -> None:
        super().__init__(
            root, BodilessRequest, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False
        )

    def startFactory(self) -> None:
        """No access log, and no timer that keeps its time of day."""

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 alone: what a scraper speaks, and what has been tested."""
        return [b"http/1.1"]
