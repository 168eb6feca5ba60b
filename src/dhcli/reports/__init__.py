"""Reports of a run for other programs: a log, metrics, a JUnit file, and a command at the end.

All of them are made from the events of the run. A report that fails does not end the run: a file that cannot be written
is a warning and exit code 74, a command that fails is a warning.
"""

from dhcli.reports.on_finish import is_command
from dhcli.reports.replaceable import JUNIT, METRICS, Kind, replaceable
from dhcli.reports.reports import Reports, Wanted

__all__ = ["JUNIT", "METRICS", "Kind", "Reports", "Wanted", "is_command", "replaceable"]
