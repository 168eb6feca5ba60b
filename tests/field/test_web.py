"""Inputs from http addresses, with a server that behaves and one that does not."""

from __future__ import annotations

import http.server
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from called import Said, call_dh
from dhcli.disk.folder import CacheFolder
from dhcli.errors import DhError
from dhcli.media.input_file import InputFile
from dhcli.media.web import Download, Web, public_name
from served import served

CONTENT = bytes(range(256)) * 3000


class Server(http.server.ThreadingHTTPServer):
    """Serves files by name; some names misbehave."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {"/a.bin": CONTENT, "/none.wav": b""}
        self.asked: list[str] = []

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        name = self.path.partition("?")[0]
        if name == "/busy":
            return self.send_error(503)
        if name in {"/away", "/disk", "/moved"}:
            self.send_response(302)
            to = {"/away": "ftp://127.0.0.1/x", "/disk": "file:///etc/passwd", "/moved": "/a.bin"}
            self.send_header("Location", to[name])
            return self.end_headers()
        data = self.server.files.get("/a.bin" if name in {"/cut", "/endless"} else name)
        if data is None:
            return self.send_error(404)
        self.send_response(200)
        if name != "/endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:1000] if name == "/cut" else data)
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with served(monkeypatch, Server()) as one:
        yield one


Get = Callable[..., Download | None]


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Get:
    web = Web(CacheFolder(tmp_path / "cache"), answer_s=5, most_bytes=1 << 20)

    def run(name: str, alive: Callable[[], None] = lambda: None) -> Download | None:
        # As the reader of manifests makes it a path.
        return web.get(Path("/jobs") / server.address(name), "video", alive)

    return run


def content(download: Download | None) -> bytes:
    assert download is not None
    with InputFile("x", "video", download=download) as file:
        return file.head(file.bytes)


@pytest.mark.parametrize("name", ["a.bin", "moved", "a.bin?signed=a%2Fb&x=1", "endless"])
def test_a_file_is_downloaded_once_a_run(server: Server, get: Get, name: str) -> None:
    assert content(get(name)) == content(get(name)) == CONTENT
    assert server.asked.count(f"/{name}") == 1


def test_what_is_secret_stays_out_of_messages(server: Server, get: Get) -> None:
    download = get("a.bin?signature=secret")
    assert download is not None
    assert download.name == server.address("a.bin")
    with InputFile("x", "video", download=download) as file:
        assert file.label == f"video {server.address('a.bin')}"
    assert public_name("https://me:word@host:8443/a.mp4?k=1#t") == "https://host:8443/a.mp4"


@pytest.mark.parametrize(
    ("name", "code", "what"),
    [
        ("gone", "input.missing", "404"),
        ("away", "input.missing", "ftp://127.0.0.1/x, which is not http or https"),
        ("disk", "input.missing", "file:///etc/passwd' is not allowed"),
        ("busy", "input.unreachable", "503"),
        ("cut", "input.unreachable", "broke off at 1000 of 768000 bytes"),
        ("none.wav", "input.empty", "no bytes"),
    ],
)
def test_what_cannot_be_downloaded(tmp_path: Path, get: Get, name: str, code: str, what: str) -> None:
    with pytest.raises(DhError) as caught:
        get(name)
    assert caught.value.code == code
    assert what in caught.value.message
    assert f"/{name}" in caught.value.message
    assert not list(tmp_path.rglob(".new-*")), "nothing half done stays"


@pytest.mark.parametrize("name", ["a.bin", "endless"])
def test_too_much_is_not_taken(server: Server, tmp_path: Path, name: str) -> None:
    web = Web(CacheFolder(tmp_path / "cache"), most_bytes=100_000)
    with pytest.raises(DhError, match="at most 100000") as caught:
        web.get(Path("/jobs") / server.address(name), "audio", lambda: None)
    assert caught.value.code == "input.too_large"


def test_a_download_has_an_end(server: Server, tmp_path: Path) -> None:
    web = Web(CacheFolder(tmp_path / "cache"), most_s=0)
    with pytest.raises(DhError, match="within 0 s") as caught:
        web.get(Path("/jobs") / server.address("a.bin"), "audio", lambda: None)
    assert caught.value.info.transient


def test_a_signal_ends_a_download(get: Get) -> None:
    def stop() -> None:
        raise DhError("job.cancelled", "SIGTERM")

    with pytest.raises(DhError, match="SIGTERM"):
        get("a.bin", stop)


def test_nobody_listens(tmp_path: Path) -> None:
    web = Web(CacheFolder(tmp_path / "cache"))
    with pytest.raises(DhError, match="no answer") as caught:
        web.get(Path("/jobs/http:/127.0.0.1:1/a.mp4"), "video", lambda: None)
    assert caught.value.code == "input.unreachable"


@pytest.mark.parametrize("path", ["/in/a.mp4", "/in/ftp:/host/a.mp4", "/in/file:/etc/passwd", "/in/data:/x", "s3:/b/a"])
def test_everything_else_is_no_download(tmp_path: Path, path: str) -> None:
    assert Web(CacheFolder(tmp_path / "cache")).get(Path(path), "video", lambda: None) is None


def test_the_cache_clears_downloads(get: Get, tmp_path: Path) -> None:
    content(get("a.bin"))
    cache = CacheFolder(tmp_path / "cache")
    assert cache.shares()["download"].entries == 1
    assert cache.clear().entries == 1


@pytest.fixture
def dh(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    return lambda *arguments: call_dh(monkeypatch, capfd, *arguments)


@pytest.fixture
def call(server: Server, avatar: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A render of four frames whose inputs come from the server."""
    monkeypatch.chdir(tmp_path)
    server.files |= {"/v.mp4": avatar.read_bytes(), "/s.wav": speech.read_bytes()}
    address = {name: server.address(name) + "?key=secret" for name in ("v.mp4", "s.wav")}
    where = ["--save-path", tmp_path / "o.mp4", "--cache-dir", tmp_path / "cache", "--root", tmp_path]
    return ["render", "--video", address["v.mp4"], "--audio", address["s.wav"], *where, "--limit-frames", 4]


def test_addresses_are_refused_unasked(
    dh: Callable[..., Said], call: list[Any], server: Server, tmp_path: Path
) -> None:
    assert dh(*call).code == 1
    error = json.loads((tmp_path / "o.mp4.json").read_text())["error"]
    assert error["code"] == "input.missing"
    assert "--allow-net" in error["hint"]
    assert server.asked == []


@pytest.mark.slow
def test_a_render_from_addresses(dh: Callable[..., Said], call: list[Any], server: Server, tmp_path: Path) -> None:
    assert dh(*call, "--allow-net").code == 0
    result = json.loads((tmp_path / "o.mp4.json").read_text())
    assert result["inputs"]["video"]["path"] == server.address("v.mp4")
    assert len(result["inputs"]["audio"]["sha256"]) == 64
    assert "1 up to date" in dh(*call, "--allow-net").err
    server.files["/s.wav"] = server.files["/s.wav"][:-20000]
    assert "up to date" not in dh(*call, "--allow-net").err
    assert dh(*call, "--allow-net", "--no-cache").code == 2
