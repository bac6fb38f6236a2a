"""The processes and the HTTP server of ``ferrotype serve``.

supervisor       binds, forks, restarts workers, passes commands on
worker           one event loop, one application, one HTTP server
connection       one HTTP connection: keep-alive, pipelining, timeouts
request_parser   bytes -> requests; request_head validates each head
exchange         one request and its response, as ASGI; response_head writes the head
body_reader      large request bodies, past transport and parser
file_sender      files, by sendfile
limits           what one connection may take
sockets, malloc  what the kernel and the C library offer
"""

from ferrotype.server.supervisor import MIN_UPTIME, serve

__all__ = ["MIN_UPTIME", "serve"]
