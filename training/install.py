"""Make a bundle of new networks, which dh renders with.

    python -m training.install FOLDER FILE... [--base models/dh-base]

FOLDER gets the files of the base, FILEs in the place of those so named, and their sizes and hashes in its model.yaml.
Its name is the model's. A new face.onnx needs its face_int8.onnx and face_fp16.onnx too: the base's are of another.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

BASE = Path(__file__).parents[1] / "models/dh-base"
DESCRIPTOR = "model.yaml"
TOGETHER = ("face.onnx", "face_int8.onnx", "face_fp16.onnx")


def described(descriptor: str, name: str, files: Sequence[Path]) -> str:
    """The base's model.yaml with another name, and the sizes and hashes of these files.

    Raises ValueError where it does not know one of them.
    """
    text = re.sub(r"(?m)^name: .*$", f"name: {name}", descriptor)
    for file in files:
        data = file.read_bytes()
        entry = rf"(path: {re.escape(file.name)}\n\s+bytes: )\d+(\n\s+sha256: )[0-9a-f]{{64}}"
        text, found = re.subn(entry, rf"\g<1>{len(data)}\g<2>{hashlib.sha256(data).hexdigest()}", text)
        if found != 1:
            raise ValueError(f"{DESCRIPTOR} of the base names no file {file.name}")
    return text


def install(folder: Path, files: Sequence[Path], base: Path) -> None:
    """Write the bundle. Raises ValueError where it would not be whole, FileExistsError where the folder is there."""
    given = {file.name for file in files}
    if lacking := set(TOGETHER) - given if given & set(TOGETHER) else set():
        raise ValueError(f"{', '.join(sorted(lacking))} missing: the base's belong to another face.onnx")
    text = described((base / DESCRIPTOR).read_text(encoding="utf-8"), folder.name, files)
    shutil.copytree(base, folder)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    (folder / DESCRIPTOR).write_text(text, encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Write the bundle and say how it is used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--base", type=Path, default=BASE)
    asked = parser.parse_args(argv)
    try:
        install(asked.folder, asked.files, asked.base)
    except (ValueError, OSError) as error:
        sys.exit(f"{asked.folder} is not written: {error}.")
    print(f"dh render … --models-dir {asked.folder.parent} --model {asked.folder.name}")


if __name__ == "__main__":
    main()
