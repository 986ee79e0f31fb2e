"""The REST API of Blob Storage for small block blobs: put, get and set metadata with ETags, delete, containers.

Not implemented: authentication, blocks, snapshots, leases and listing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate

from bench.stub.http_server import HttpRequest, HttpResponse
from bench.stub.queues import fault

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(slots=True)
class StubBlob:
    """The last written state of a blob."""

    content: bytes
    content_type: str
    etag: str
    modified: str
    metadata: dict[str, str]


class BlobService:
    """All containers of the account; `answer` is the HTTP handler."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, StubBlob]] = {}
        self._writes = 0

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request to `/account/...`."""
        response = self._answer(request)
        response.headers["Date"] = formatdate(usegmt=True)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        _, _, path = request.path.lstrip("/").partition("/")
        container, _, name = path.partition("/")
        if not name:
            return self._manage(request, container)
        blobs = self.containers.get(container)
        if blobs is None:
            return fault(404, "ContainerNotFound")
        match request.method:
            case "PUT":
                return self._put(request, blobs, name)
            case "GET" | "HEAD":
                return _get(request, blobs.get(name))
            case "DELETE":
                return fault(404, "BlobNotFound") if blobs.pop(name, None) is None else HttpResponse(202)
        return fault(405, "UnsupportedHttpVerb")

    def _manage(self, request: HttpRequest, container: str) -> HttpResponse:
        exists = container in self.containers
        match request.method:
            case "PUT":
                if exists:
                    return fault(409, "ContainerAlreadyExists")
                self.containers[container] = {}
                return HttpResponse(201, headers={"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True)})
            case "DELETE" if exists:
                del self.containers[container]
                return HttpResponse(202)
        return HttpResponse(200) if exists else fault(404, "ContainerNotFound")

    def _put(self, request: HttpRequest, blobs: dict[str, StubBlob], name: str) -> HttpResponse:
        only_metadata = request.query.get("comp") == "metadata"
        is_block_blob = request.headers.get("x-ms-blob-type", "").lower() == "blockblob" and "comp" not in request.query
        if not (only_metadata or is_block_blob):
            return fault(400, "UnsupportedHeader")
        old, match = blobs.get(name), request.headers.get("if-match")
        if request.headers.get("if-none-match") == "*" and old is not None:
            return fault(409, "BlobAlreadyExists")
        if match is not None and (old is None or match != old.etag):
            return fault(412, "ConditionNotMet")
        if only_metadata and old is None:
            return fault(404, "BlobNotFound")
        self._writes += 1
        content, content_type = request.body, request.headers.get("x-ms-blob-content-type", "application/octet-stream")
        if only_metadata and old is not None:
            content, content_type = old.content, old.content_type
        metadata = {key: value for key, value in request.headers.items() if key.startswith("x-ms-meta-")}
        blob = StubBlob(content, content_type, f'"0x{self._writes:015X}"', formatdate(usegmt=True), metadata)
        blobs[name] = blob
        return HttpResponse(200 if only_metadata else 201, headers={"ETag": blob.etag, "Last-Modified": blob.modified})


def _get(request: HttpRequest, blob: StubBlob | None) -> HttpResponse:
    if blob is None:
        return fault(404, "BlobNotFound")
    headers = {
        "Content-Type": blob.content_type,
        "ETag": blob.etag,
        "Last-Modified": blob.modified,
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        **blob.metadata,
    }
    byte_range = _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range") or "")
    if byte_range is None:
        return HttpResponse(200, blob.content, headers)
    begin, size = int(byte_range[1]), len(blob.content)
    if begin >= size:
        return fault(416, "InvalidRange")
    end = min(size, int(byte_range[2] or size) + 1)
    return HttpResponse(206, blob.content[begin:end], {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{size}"})
