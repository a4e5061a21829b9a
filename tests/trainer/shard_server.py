"""A small HTTP server on 127.0.0.1 that hands out real Parquet shards and misbehaves on demand."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq


def parquet(texts: Sequence[str | None], column: str = "text") -> bytes:
    """A Parquet file with one column of text."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({column: pa.array(texts, pa.string())}), buffer, row_group_size=64)
    return buffer.getvalue()


class Fault(NamedTuple):
    """What one answer does wrong."""

    status: int = 0
    """Answer with this status instead of the file."""
    cut_after: int = -1
    """Close the connection after so many bytes of the body."""
    declared: int = -1
    """Name this Content-Length whatever the length is."""
    retry_after: str = ""


class Request(NamedTuple):
    """What a client asked for."""

    name: str
    range: str | None
    if_range: str | None


class ShardServer:
    """Serves `files` by name. `faults[name]` are used up one per request, first one first."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.requests: list[Request] = []
        self.knows_ranges = True
        self.knows_etags = True
        self.seconds_per_kilobyte = 0.0
        self.longest_answer = 2**62
        """A server may answer a Range with less than was asked for."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._server.server_port}/data"

    def asked(self, name: str) -> list[Request]:
        """The requests for one file."""
        return [request for request in self.requests if request.name == name]

    def __enter__(self) -> ShardServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.rpartition("/")[2]
        request = Request(name, handler.headers["Range"], handler.headers["If-Range"])
        self.requests.append(request)
        fault = self.faults[name].pop(0) if self.faults[name] else Fault()
        if fault.status or name not in self.files:
            handler.send_response(fault.status or 404)
            if fault.retry_after:
                handler.send_header("Retry-After", fault.retry_after)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = self.files[name]
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = self._start(request, etag)
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.end_headers()
            return
        body = content[start:][: self.longest_answer if start else None]
        handler.send_response(206 if start else 200)
        if start:
            span = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
            handler.send_header("Content-Range", span)
        if self.knows_etags:
            handler.send_header("ETag", etag)
        length = len(body) if fault.declared < 0 else fault.declared
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        self._send(handler, body if fault.cut_after < 0 else body[: fault.cut_after])

    def _start(self, request: Request, etag: str) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        if not asked or not self.knows_ranges or request.if_range not in (None, etag):
            return 0
        return int(asked[1])

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            for begin in range(0, len(body), 1024):
                handler.wfile.write(body[begin : begin + 1024])
                time.sleep(self.seconds_per_kilobyte)
        except OSError:
            pass  # the client went away
