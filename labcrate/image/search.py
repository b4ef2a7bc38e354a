"""The page that finds similar news: search.py FOLDER PORT.

The page has no login. Like TensorBoard's, it is on the loopback alone, and a request must name this
machine: a web page whose name points at 127.0.0.1 (DNS rebinding) gets nothing.
"""

import html
import ipaddress
import json
import string
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs

from search_index import Index, Refused
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

LARGEST = 2**20
"""Bytes of a request: a text of 10,000 characters takes at most a tenth, percent-encoded."""
PAGE = Path(__file__).with_name("search.html")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_own(host):
    """Whether a Host header names this machine by address, or as localhost; as in guard.py."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() == "localhost":
        return True
    with suppress(ValueError):
        ipaddress.ip_address(name.strip("[]"))
        return True
    return False


class Guard:
    """The application, for requests that came by this machine's own name."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        application = self.application
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not is_own(host):
                text = "The search page answers to localhost and to addresses only.\n"
                application = PlainTextResponse(text, status_code=403)
        await application(scope, receive, send)


class TooLarge(Exception):
    """A request with more than LARGEST bytes."""


async def asked(request):
    """(title, text) of a form or of JSON. TooLarge, ValueError: neither."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise TooLarge
    if request.headers.get("content-type", "").startswith("application/json"):
        told = json.loads(body)
        if not isinstance(told, dict):
            raise ValueError
        return str(told.get("title", "")), str(told.get("text", ""))
    form = parse_qs(body.decode(), max_num_fields=4)
    return form.get("title", [""])[0], form.get("text", [""])[0]


def page(title="", text="", answer="", status=200):
    """The page. answer: HTML; the others are what somebody typed, and become text."""
    shown = string.Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title), text=html.escape(text), answer=answer
    )
    return HTMLResponse(shown, status_code=status, headers=HEADERS)


def row(found):
    """One article of the answer. Articles come from files, so they are escaped, too."""
    title, category, text = (
        html.escape(str(found.get(n, ""))) for n in ("title", "category", "text")
    )
    return (
        f'<li><details><summary><b>{title}</b> <i>{category}</i> <span class="score">'
        f"{found['score']:.3f}</span></summary><p>{text}</p></details></li>"
    )


def note(text):
    return f'<p role="status">{html.escape(text)}</p>'


def make_application(index):
    """The page and its two answers for programs, over an index."""

    async def show(request):  # noqa: ARG001
        about = f"{len(index.articles):,} articles are searched."
        return page(answer=note(about))

    async def search(request):
        try:
            title, text = await asked(request)
        except TooLarge:
            return page(answer=note("That is too long: 1 MB at most."), status=413)
        except ValueError:
            return page(answer=note("That request cannot be read."), status=400)
        if not f"{title}{text}".strip():
            return page(answer=note("Type a title or a text first."), status=400)
        found = await run_in_threadpool(index.nearest, title, text)
        rows = "".join(map(row, found))
        return page(title, text, f"<h2>Similar articles</h2><ol>{rows}</ol>")

    def answered(question):
        async def answer(request):
            try:
                title, text = await asked(request)
            except TooLarge:
                return JSONResponse({"error": "more than 1 MB"}, status_code=413)
            except ValueError:
                return JSONResponse({"error": "not a JSON object"}, status_code=400)
            return JSONResponse(await run_in_threadpool(question, title, text), headers=HEADERS)

        return answer

    def vector(title, text):
        return {"vector": index.encode(title, text).tolist()}

    def articles(title, text):
        return {"articles": index.nearest(title, text)}

    async def health(request):  # noqa: ARG001
        return PlainTextResponse("ok\n")

    routes = [
        Route("/", show, methods=["GET"]),
        Route("/", search, methods=["POST"]),
        Route("/api/search", answered(articles), methods=["POST"]),
        Route("/api/vector", answered(vector), methods=["POST"]),
        Route("/health", health, methods=["GET"]),
    ]
    return Guard(Starlette(routes=routes))


def main():
    import uvicorn

    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    try:
        index = Index(folder)
    except Refused as error:
        fix = "run notebook 03 again, then: invoke serve"
        sys.exit(f"error: the model in {folder} is refused: {error}. Fix: {fix}")
    print("The search page is running; on the host, `invoke url` prints its link", file=sys.stderr)
    uvicorn.run(
        make_application(index),
        host="0.0.0.0",
        port=port,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main()
