"""/healthcheck: whether a load balancer should send requests to this node"""

import html
from pathlib import Path

import msgspec

from ferrotype.web.http import Request, Response


def _exists(file: Path | None) -> bool:
    try:
        return file is not None and file.exists()
    except OSError:  # It cannot be reached: its name is too long, for instance.
        return False


async def check(request: Request) -> Response:
    """Return 200, or 503 while the operator's ``disable_by_file_path`` exists."""
    down = _exists(request.ctx.config.server.healthcheck_disable_file)
    reason, status = ("DISABLED BY FILE", 503) if down else ("OK", 200)
    if request.method == "HEAD":
        return Response(503 if down else 204)
    accept = request.headers.get("accept", "")
    if "application/json" in accept:
        body = msgspec.json.format(msgspec.json.encode({"detailed": False, "reasons": [reason]}), indent=4)
        return Response(status, body, [("content-type", "application/json")])
    if "text/html" in accept:
        table = f"<html><body><table><tr><td>{html.escape(reason)}</td></tr></table></body></html>"
        return Response(status, table.encode(), [("content-type", "text/html; charset=UTF-8")])
    return Response(status, reason.encode(), [("content-type", "text/plain; charset=UTF-8")])
