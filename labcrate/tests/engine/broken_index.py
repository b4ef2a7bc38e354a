"""A package index that misbehaves: http://host:8765/cut and http://host:8765/slow; one that wants a
login is at /locked, one that wants it and then breaks off at /lockedcut.

Run on the machine of the fault tests. Any project asked for has one tiny pure Python wheel.
"""

from __future__ import annotations

import io
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def wheel(name: str) -> bytes:
    """A wheel that is valid, and 200 kB large so that it can be cut in two."""
    module = name.replace("-", "_")
    folder = f"{module}-1.0.dist-info"
    files = {
        f"{module}.py": "# " + "x" * 200_000,
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{folder}/RECORD"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, f"{folder}/RECORD": record}.items():
            # The same bytes at any time: a lock names them by their hash.
            archive.writestr(zipfile.ZipInfo(path), text)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        how, name, *file = self.path.strip("/").split("/")
        if how.startswith("locked") and not self.headers.get("Authorization"):
            return self.send_error(401)
        module = name.replace("-", "_")
        if not file:
            link = f'<a href="{module}-1.0-py3-none-any.whl">{module}-1.0-py3-none-any.whl</a>'
            return self.answer(link.encode(), "text/html", how)
        return self.answer(wheel(name), "application/octet-stream", how)

    def do_HEAD(self) -> None:
        """No ranges here: an installer then reads the whole wheel for its metadata."""
        self.send_response(200)
        self.end_headers()

    def answer(self, body: bytes, kind: str, how: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how.endswith("cut") and len(body) > 1000:
            self.wfile.write(body[: len(body) // 2])
            return
        for start in range(0, len(body), 40_000):
            time.sleep(1.0 if how == "slow" else 0)
            self.wfile.write(body[start : start + 40_000])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8765), Handler).serve_forever()
