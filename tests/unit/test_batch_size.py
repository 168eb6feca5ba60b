"""How many frames at once: measured through a real network and a clock that says what another machine would need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from dhcli.errors import DhError
from dhcli.networks.batch_size import BATCH, MOST, TIMES, fastest_batch
from dhcli.networks.network import Device, Network, Tensor, open_network


class _Paced(Network):
    """A network whose calls take as long, on its own clock, as `cost` says for so many frames."""

    def __init__(self, network: Network, cost: Callable[[int], float], room: int = 1 << 20) -> None:
        super().__init__(network._session, network.name, None)
        self._cost, self._room, self._time = cost, room, 0.0
        self.asked: list[int] = []

    def clock(self) -> float:
        return self._time

    def run_bound(self, outputs: Sequence[str], feeds: Mapping[str, Tensor]) -> list[Tensor]:
        count = len(feeds["x"])
        self.asked.append(count)
        if count > self._room:
            raise DhError("device.out_of_memory", "BFCArena", hint="-")
        self._time += self._cost(count)
        return super().run_bound(outputs, feeds)


@pytest.fixture
def paced(make_network: Callable[..., bytes]) -> Callable[..., _Paced]:
    network = open_network(make_network("Sqrt"), "face", device=Device("cpu"))
    return lambda *args: _Paced(network, *args)


@pytest.mark.parametrize(
    ("cost", "batch"),
    [
        (lambda n: 1.0 * n, BATCH),  # a CPU
        (lambda n: 5.0 + 0.1 * n, MOST),  # a GPU that waits for its driver
        (lambda n: max(8.0, 1.0 * n), 8),  # one that is full with eight
        (lambda n: 1.0 * n + 1.5, 8),
    ],
)
def test_the_fastest_number_of_frames_is_taken(
    paced: Callable[..., _Paced], cost: Callable[[int], float], batch: int
) -> None:
    network = paced(cost)
    assert fastest_batch(network, network.clock) == batch
    assert network.asked.count(BATCH) == TIMES + 1


def test_a_single_slow_call_decides_nothing(paced: Callable[..., _Paced]) -> None:
    delays: Iterator[float] = iter([0.0, 9.0, 0.0, 0.0, 0.0, 0.0] * 4)
    network = paced(lambda n: 5.0 + 0.1 * n + next(delays))
    assert fastest_batch(network, network.clock) == MOST


def test_where_memory_ends_the_search_ends(paced: Callable[..., _Paced]) -> None:
    network = paced(lambda n: 5.0 + 0.1 * n, 8)
    assert fastest_batch(network, network.clock) == 8
    assert network.asked[-1] == 16


def test_no_memory_for_the_least_is_an_error(paced: Callable[..., _Paced]) -> None:
    network = paced(lambda n: 1.0 * n, 2)
    with pytest.raises(DhError) as caught:
        fastest_batch(network, network.clock)
    assert caught.value.code == "device.out_of_memory"


def test_other_faults_are_not_taken_for_a_lack_of_memory(paced: Callable[..., _Paced]) -> None:
    def lost(count: int) -> float:
        if count > BATCH:
            raise DhError("device.lost", "CUDA failure 700", hint="-")
        return 1.0

    network: Any = paced(lost)
    with pytest.raises(DhError) as caught:
        fastest_batch(network, network.clock)
    assert caught.value.code == "device.lost"
