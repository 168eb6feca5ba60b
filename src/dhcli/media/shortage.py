"""Whether ffmpeg failed because the system had no threads or processes left; then no file is to blame.

ffmpeg's own messages mislead: with `ulimit -u 10` it says that a sound video "has no frame".
"""

from __future__ import annotations

import re

from dhcli.errors import DhError
from dhcli.runtime.child import Child
from dhcli.runtime.threads import check_threads

COMPLAINTS = re.compile(r"pthread_create|resource temporarily unavailable|error while opening encoder", re.IGNORECASE)
"""The last one is what libx264 says; it has no other reason to fail, since its options are fixed."""


def or_shortage(error: DhError, child: Child) -> DhError:
    """DhError env.limits where `child` complains of a lack of threads, and this process cannot start them either.

    Else `error`. The complaint alone is no proof: a damaged file can cause it, and env.limits ends the whole run.
    """
    tail = child.tail(100)
    complaint = next((line for line in tail if COMPLAINTS.search(line)), None)
    if complaint is None or error.code == "env.limits":
        return error
    try:
        check_threads()
    except DhError as limit:
        message = f"ffmpeg could not start its threads ({complaint.strip()}). {limit.message}"
        return DhError(limit.code, message, hint=limit.hint, stage=error.stage, stderr_tail=tail[-20:])
    return error
