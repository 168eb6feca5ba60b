"""Reports of a run: a log, metrics and a JUnit file for other programs, a page for people, and a command at the end.

All of them are made from the events of the run. A report that fails does not end the run: a file that cannot be written
is a warning and exit code 74, a command that fails is a warning.
"""

from dhcli.reports.on_finish import is_command
from dhcli.reports.page_file import PageMaker
from dhcli.reports.replaceable import JUNIT, METRICS, PAGE, SHEET, Kind, replaceable
from dhcli.reports.reports import Reports, Wanted

__all__ = ["JUNIT", "METRICS", "PAGE", "SHEET", "Kind", "PageMaker", "Reports", "Wanted", "is_command", "replaceable"]
