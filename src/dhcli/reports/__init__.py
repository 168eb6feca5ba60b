"""What a run tells the machines around it: a log, metrics, a test report, a command at the end.

Each is a listener of events or a pure function of them. What a run does is not their business, and no trouble of
theirs ends it: a file that cannot be written is a warning and exit code 74, a command that fails is a warning.
"""

from dhcli.reports.on_finish import is_command
from dhcli.reports.replaceable import JUNIT, METRICS, Kind, replaceable
from dhcli.reports.reports import Reports, Wanted

__all__ = ["JUNIT", "METRICS", "Kind", "Reports", "Wanted", "is_command", "replaceable"]
