"""Content inspection: what format is the data, is it dangerous, and is it what was declared?

    Inspector      observes a stream and returns ``Findings``, stored with the blob
    check_format   Findings + what the image declares -> ``Verdict``, or ``ContentRefused``

Nothing here opens a file, follows a name or allocates by a number it has read.
"""

from ferrotype.streams.inspect.inspector import Inspector
from ferrotype.streams.inspect.records import Failure, Findings
from ferrotype.streams.inspect.verdict import Tolerated, Verdict, check_format, log_context

__all__ = ["Failure", "Findings", "Inspector", "Tolerated", "Verdict", "check_format", "log_context"]
