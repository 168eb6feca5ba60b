"""The entry of `dh` and of `python -m dhcli`: signals first, then everything else."""

from dhcli.runtime.early import take_signals
from dhcli.runtime.init import leave_init_behind


def main() -> None:
    """The console script `dh`."""
    take_signals()
    leave_init_behind()
    from dhcli.cli import main as run

    run()


if __name__ == "__main__":
    main()
