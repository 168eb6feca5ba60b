"""The entry point of `dh` and of `python -m dhcli`.

It sets up signals before the slow imports: a signal during start-up must end dh, too.
"""

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
