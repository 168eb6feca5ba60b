"""`python -m dhcli`."""

from dhcli.cli import main

main()
