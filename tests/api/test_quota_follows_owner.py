"""An image that an administrator gives to another project is charged to that project from then on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from uploads import MIB, held_upload  # noqa: F401
