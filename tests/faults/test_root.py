"""The folder that no path may leave: by its spelling, by a link, or by a folder that is swapped during the render."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dhcli.disk.part import PartFile
from dhcli.errors import DhError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("way", ["dots", "absolute", "link", "linked folder", "save_path", "save link", "photo"])
def test_no_path_leaves_the_root(
    way: str, run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path, write_manifest: Callable[..., Path]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-and-more"
    root.mkdir()
    outside.mkdir()
    for folder in (root, outside):
        os.link(clip, folder / "v.mp4")
        os.link(words, folder / "a.wav")
    (root / "door").symlink_to(outside)
    (root / "link.mp4").symlink_to(outside / "v.mp4")
    job = {"audio": "a.wav", "video": "v.mp4", "save_path": "o.mp4"}
    job |= {
        "dots": {"video": "../root-and-more/v.mp4"},
        "absolute": {"audio": str(outside / "a.wav")},
        "link": {"video": "link.mp4"},
        "linked folder": {"audio": "door/a.wav"},
        "save_path": {"save_path": "x/../../root-and-more/o.mp4"},
        "save link": {"save_path": "door/o.mp4"},
        "photo": {"face": f"like:{outside / 'v.mp4'}"},
    }[way]
    before = sorted(outside.iterdir())
    done = run(write_manifest(root / "m.yaml", [job]), "--root", root)
    assert done.returncode == 65, done.stderr
    assert str(outside).encode() in done.stderr
    assert b"manifest.invalid" in done.stderr
    assert sorted(outside.iterdir()) == before
    assert not (root / "o.mp4.json").exists()


def test_everything_below_the_root_is_rendered_links_too(
    run: Callable[..., Any], clip: Path, words: Path, tmp_path: Path, write_manifest: Callable[..., Path]
) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media/v.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "media/a.wav").write_bytes(words.read_bytes())
    (tmp_path / "today").symlink_to(tmp_path / "media")
    job = {"audio": "today/../media/a.wav", "video": "today/v.mp4", "save_path": "today/o.mp4"}
    done = run(write_manifest(tmp_path / "m.yaml", [job]), "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "media/o.mp4").exists()


SWAP = """
import os as system
if not system.path.exists("{moved}"):
    system.rename("{folder}", "{moved}")
    system.symlink("{outside}", "{folder}")
real()
"""


@pytest.mark.parametrize(("moment", "rooted"), [("encode", True), ("verify", True), ("encode", False)])
def test_an_output_folder_that_is_swapped_during_the_render(
    run: Callable[..., Any],
    fake_ffmpeg: Callable[..., Path],
    clip: Path,
    words: Path,
    tmp_path: Path,
    moment: str,
    rooted: bool,
    write_manifest: Callable[..., Path],
    result_of: Callable[[Path], Any],
) -> None:
    """For a link out of the root: nothing goes through it, and no result says that something lies there."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    folder, moved = root / "out", root / "moved"
    folder.mkdir(parents=True)
    outside.mkdir()
    os.link(clip, root / "v.mp4")
    os.link(words, root / "a.wav")
    fake_ffmpeg(moment, SWAP.format(folder=folder, moved=moved, outside=outside))
    job = {"audio": "a.wav", "video": "v.mp4", "save_path": "out/o.mp4"}
    done = run(write_manifest(root / "m.yaml", [job]), *(("--root", root) if rooted else ()))
    assert b"output.not_writable" in done.stderr
    assert moved.exists(), "the folder was swapped"
    assert not [path for path in moved.iterdir() if path.suffix == ".mp4" or path.name.endswith(".dh-part")]
    if rooted:
        assert done.returncode == 74, "the result has no place, either"
        assert b"outside of" in done.stderr
        assert not list(outside.iterdir())
    else:
        assert done.returncode == 1
        assert [path.name for path in outside.iterdir()] == ["o.mp4.json"]
        assert "replaced by another one" in result_of(outside / "o.mp4")["error"]["message"]


def test_a_part_that_is_swapped_is_not_put_in_place(tmp_path: Path) -> None:
    with PartFile(tmp_path / "o.mp4") as part:
        part.write(b"ours")
        part.path.unlink()
        part.path.write_bytes(b"theirs")
        with pytest.raises(DhError) as caught:
            part.commit()
    assert caught.value.code == "output.not_writable"
    assert part.path.name in caught.value.message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {part.path.name: b"theirs"}


def test_an_output_folder_is_judged_where_it_lies(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "out").mkdir(parents=True)
    outside.mkdir()
    (root / "door").symlink_to(outside)
    with pytest.raises(DhError) as before:
        PartFile(root / "door/o.mp4", root=root)
    with PartFile(root / "out/o.mp4", root=root) as part:
        # The folder itself is carried away, and found again through a link.
        (root / "out").rename(outside / "out")
        (root / "out").symlink_to(outside / "out")
        with pytest.raises(DhError) as caught:
            part.commit()
    assert before.value.code == "output.not_writable"
    assert caught.value.code == "output.not_writable"
    assert f"leads to {outside}" in caught.value.message
    assert not [path for path in outside.rglob("*") if path.is_file()]
