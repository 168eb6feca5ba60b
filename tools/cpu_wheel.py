"""The wheel of dhcli-cpu: the same files with plain ONNX Runtime in place of the one for GPUs, which has 280 MB more.

    python -m tools.cpu_wheel dist/dhcli-0.1.0-py3-none-any.whl

A wheel cannot let its reader choose between two packages that may not lie side by side. So there are two
distributions; both install the package `dhcli`, and one machine has one of them. The new wheel lies beside the other.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zipfile
from pathlib import Path

NAME, CPU_NAME = "dhcli", "dhcli-cpu"
RUNTIME = re.compile(r"Requires-Dist: onnxruntime(?P<gpu>-gpu)?(?P<versions>[^;\n]*);.*\n")
NOTE = "It runs on the CPU; `dhcli` is the distribution for GPUs, and the two must not be installed side by side."


def for_cpus(metadata: str) -> str:
    """METADATA of dhcli-cpu, from that of dhcli."""
    (versions,) = {found["versions"] for found in RUNTIME.finditer(metadata) if not found["gpu"]}
    metadata, count = RUNTIME.subn("", metadata)
    if count < 2:  # both stand in METADATA, each with a marker
        sys.exit("The wheel is no wheel of dhcli: it names one ONNX Runtime.")
    metadata = metadata.replace("Provides-Extra: cuda\n", "").replace(f"Name: {NAME}\n", f"Name: {CPU_NAME}\n")
    first = metadata.index("Requires-Dist: ")
    metadata = f"{metadata[:first]}Requires-Dist: onnxruntime{versions}\n{metadata[first:]}"
    head, blank, readme = metadata.partition("\n\n")
    return f"{head}{blank}{NOTE}\n\n{readme}"


def record_line(name: str, content: bytes) -> str:
    """A line of RECORD: https://packaging.python.org/specifications/recording-installed-packages."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def make(wheel: Path) -> Path:
    """Write the wheel of dhcli-cpu beside that of dhcli."""
    version = wheel.name.split("-")[1]
    own, other = f"{NAME}-{version}.dist-info/", f"{CPU_NAME.replace('-', '_')}-{version}.dist-info/"
    made = wheel.with_name(wheel.name.replace(f"{NAME}-", f"{CPU_NAME.replace('-', '_')}-", 1))
    record = ""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content, name = source.read(entry), entry.filename.replace(own, other, 1)
            if name == f"{other}RECORD":
                continue
            if name == f"{other}METADATA":
                content = for_cpus(content.decode()).encode()
            entry.filename = name
            target.writestr(entry, content)
            record += record_line(name, content)
        target.writestr(f"{other}RECORD", f"{record}{other}RECORD,,\n")
    return made


def main() -> None:
    for path in sys.argv[1:]:
        print(make(Path(path)))


if __name__ == "__main__":
    main()
