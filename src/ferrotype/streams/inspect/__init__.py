"""The inspection gate: what are these bytes, are they dangerous, and are they what was declared?

    Inspector   watches a stream and yields ``Findings``: facts, kept with the blob
    verdict     Findings + what the image declares -> virtual size, or ``ContentRefused``

Nothing here opens a file, follows a name or allocates by a number it has read.
"""

from ferrotype.streams.inspect.inspector import Inspector
from ferrotype.streams.inspect.records import Failure, Findings
from ferrotype.streams.inspect.verdict import verdict

__all__ = ["Failure", "Findings", "Inspector", "verdict"]
