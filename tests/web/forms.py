"""multipart/form-data as curl sends it."""

from __future__ import annotations

import json
from typing import Any

from tests.web.harness import Client, Reply

BOUNDARY = "----------------------------0123456789ab"


def part(name: str, data: bytes, filename: str = "", kind: str = "") -> bytes:
    """One part with its delimiter."""
    named = f'; filename="{filename}"' if filename else ""
    typed = f"Content-Type: {kind}\r\n" if kind else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{typed}\r\n'.encode() + data + b"\r\n"


def form(document: Any, **files: tuple[bytes, str, str]) -> bytes:
    """Part json and files: (contents, file name, media type)."""
    parts = [part("json", document if isinstance(document, bytes) else json.dumps(document).encode(), kind="application/json")]
    return b"".join([*parts, *(part(name, *rest) for name, rest in files.items()), f"--{BOUNDARY}--\r\n".encode()])


async def send(client: Client, path: str, body: bytes, method: str = "POST", boundary: str = BOUNDARY, **headers: str) -> Reply:
    return await client.raw(method, path, body, Content_Type=f"multipart/form-data; boundary={boundary}", **headers)
