"""Fetching a model from servers that behave and from those that do not."""

from __future__ import annotations

import hashlib
import http.server
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhcli.errors import DhError
from dhcli.install.download import Address, fetched, is_url
from served import served

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT` under names that say how it misbehaves."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str | None] = []
        """The Range headers, in order."""

    def address(self, name: str, sha256: str = SHA256) -> Address:
        return Address(f"http://127.0.0.1:{self.server_address[1]}/{name}", sha256)


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.0"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        ask = self.headers.get("Range")
        self.server.asked.append(ask)
        name = self.path.lstrip("/")
        if name == "gone":
            return self.send_error(404)
        if name == "away":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/x")
            return self.end_headers()
        if name == "moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            return self.end_headers()
        if name == "stuck":  # promises more than it ever gives, and knows no ranges
            return self._send(CONTENT[:1000], 200, 0, len(CONTENT))
        if name == "elsewhere" and ask:  # goes on where nobody asked it to
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 5000-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.end_headers()
            self.wfile.write(CONTENT[5000:])
            return None
        if name == "page":
            return self._send(b"<!DOCTYPE html><html></html>", 200)
        found = re.fullmatch(r"bytes=(\d+)-", ask or "")
        begin = int(found[1]) if found and name != "anew" else 0
        part = CONTENT[begin:]
        if name in {"breaks", "anew"} and len(self.server.asked) == 1:
            part = part[: len(part) // 3]
        return self._send(part, 206 if begin else 200, begin, len(CONTENT) - begin)

    def _send(self, data: bytes, status: int, begin: int = 0, stated: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if stated is None else stated))
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with served(monkeypatch, Server()) as one:
        yield one


def fetch(server: Server, folder: Path, name: str, sha256: str = SHA256) -> bytes:
    return fetched(server.address(name, sha256), folder, lambda *_: None).read_bytes()


@pytest.mark.parametrize("name", ["whole", "moved"])
def test_a_file_is_fetched(server: Server, tmp_path: Path, name: str) -> None:
    assert fetch(server, tmp_path, name) == CONTENT


def test_what_breaks_off_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, "breaks") == CONTENT
    assert server.asked == [None, f"bytes={len(CONTENT) // 3}-"]


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, "anew") == CONTENT
    assert len(server.asked) == 2


def test_an_earlier_run_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path, "whole") == CONTENT
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize(("name", "content"), [("whole", b"\xff" * 1000), ("elsewhere", CONTENT[:1000])])
def test_what_became_another_file_is_fetched_from_the_start(
    server: Server, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / f"{SHA256}.part").write_bytes(content)
    assert fetch(server, tmp_path, name) == CONTENT


@pytest.mark.parametrize(
    ("name", "code", "found"),
    [
        ("gone", "model.missing", "404"),
        ("away", "model.missing", "which is not http or https"),
        ("page", "model.corrupt", "it is a web page"),
        ("stuck", "model.missing", f"broke off at 1000 of {len(CONTENT)} bytes"),
    ],
)
def test_what_is_not_there_is_said(server: Server, tmp_path: Path, name: str, code: str, found: str) -> None:
    with pytest.raises(DhError) as caught:
        fetch(server, tmp_path, name)
    assert (caught.value.code, found in caught.value.message) == (code, True), caught.value.message


def test_another_file_is_refused_with_both_hashes(server: Server, tmp_path: Path) -> None:
    other = "0" * 64
    with pytest.raises(DhError) as caught:
        fetch(server, tmp_path, "whole", other)
    assert SHA256 in caught.value.message
    assert other in caught.value.message
    assert (tmp_path / f"{other}.part").stat().st_size == 0, "nothing can be added to it"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ftp://example.org/x", "it is neither http nor https"),
        ("http://[x", "Invalid IPv6 URL"),
        ("http://example.org:many/x", "Port could not be cast"),
        ("https:///x", "it names no server"),
        ("http://me:secret@example.org/x", "it has a user's name"),
    ],
)
def test_addresses_that_lead_nowhere(text: str, found: str) -> None:
    assert is_url(text)
    with pytest.raises(DhError) as caught:
        Address.of(text, SHA256)
    assert found in caught.value.message
    assert "secret" not in caught.value.message


def test_an_address_is_as_people_write_it(server: Server, tmp_path: Path) -> None:
    address = Address.of(f"http://127.0.0.1:{server.server_address[1]}/моя модель%20.onnx?a=b c#top", SHA256)
    assert fetched(address, tmp_path, lambda *_: None).read_bytes() == CONTENT
    assert address.url.endswith("/%D0%BC%D0%BE%D1%8F%20%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C%20.onnx?a=b%20c")


@pytest.mark.parametrize(
    ("text", "web"), [("a/b.onnx", False), ("C:/x.onnx", False), ("http:x", False), ("HTTP://h/x", True)]
)
def test_what_is_a_path_is_none(text: str, web: bool) -> None:
    assert is_url(text) is web


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DhError) as caught:
        fetched(Address("http://127.0.0.1:9/x", SHA256), tmp_path, lambda *_: None)
    assert caught.value.code == "model.missing"
    assert "no connection" in caught.value.message
