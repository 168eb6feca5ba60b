"""Whether a failed ffmpeg had no threads or processes left: then the machine is to blame, and no file.

ffmpeg's own messages do not say: with `ulimit -u 10` an honest video "has no frame".
"""

from __future__ import annotations

import re

from dhcli.errors import DhError
from dhcli.runtime.child import Child
from dhcli.runtime.threads import check_threads

SAID = re.compile(r"pthread_create|resource temporarily unavailable|error while opening encoder", re.IGNORECASE)
"""libx264 gives no reason; other reasons there are none, for its options are ours."""


def or_shortage(error: DhError, child: Child) -> DhError:
    """`error`, or env.limits where the words of `child` fit a lack of threads, and this process finds one, too.

    A damaged file can make ffmpeg say such words, and env.limits ends the whole run: the words alone are no proof.
    """
    tail = child.tail(100)
    said = next((line for line in tail if SAID.search(line)), None)
    if said is None or error.code == "env.limits":
        return error
    try:
        check_threads()
    except DhError as limit:
        found = f"ffmpeg could not start its threads ({said.strip()}). {limit.message}"
        return DhError(limit.code, found, hint=limit.hint, stage=error.stage, stderr_tail=tail[-20:])
    return error
