"""The processes of ``ferrotype serve``.

supervisor   binds, forks, restarts what dies, passes orders on
worker       one loop, one application, one HTTP server
"""

from ferrotype.server.supervisor import QUICK_DEATH, serve

__all__ = ["QUICK_DEATH", "serve"]
