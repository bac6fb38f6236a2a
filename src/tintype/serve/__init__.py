"""The processes of ``tintype serve``.

supervisor   binds, forks, restarts what dies, passes orders on
worker       one loop, one application, one HTTP server
"""

from tintype.serve.supervisor import QUICK_DEATH, serve

__all__ = ["QUICK_DEATH", "serve"]
