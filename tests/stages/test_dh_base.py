"""The family as a whole: what it says of the device that its networks run on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dhcli.families.dh_base import DhBase
from dhcli.inference import Device

GEOMETRY = Path(__file__).parents[2] / "models" / "dh-base" / "geometry.npz"


@pytest.mark.parametrize("role", ["detect", "landmarks", "audio", "face"])
def test_one_network_that_fell_back_to_the_cpu_is_told(role: str) -> None:
    def open_network(name: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(warning=f"No GPU for {name}" if name == role else None)

    bundle: Any = SimpleNamespace(open_network=open_network, read=lambda _: GEOMETRY.read_bytes())
    family = DhBase(bundle, Device("cuda", required=False), 1)
    assert family.warning == f"No GPU for {role}"
    assert family.device == ("cpu" if role == "face" else "cuda:0")


def test_nothing_to_tell(dh_base: DhBase) -> None:
    assert dh_base.warning is None
