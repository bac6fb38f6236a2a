"""Runs a whole Swift with its S3 API in one process, in Swift's own Python. Arguments: home, port, secret key."""

import sys
from pathlib import Path

home, port, secret = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
(home / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = x\n")

# Where its configuration is must be known before its modules are imported.
import swift.common.utils  # noqa: E402

swift.common.utils.set_swift_dir(str(home))

import eventlet  # noqa: E402
from eventlet import wsgi as server  # noqa: E402
from swift.common import wsgi  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402

swift.common.utils.eventlet_monkey_patch()

KINDS = ("account", "container", "object")
COMMON = f"""
[DEFAULT]
swift_dir = {home}
devices = {home}/devices
mount_check = false
fallocate_reserve = 0
log_address = {home}/none
recon_cache_path = {home}
"""
PROXY = f"""
[pipeline:main]
pipeline = catch_errors cache listing_formats bulk s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0
[filter:cache]
paste.filter_factory = forgetful_cache:filter_factory
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
auth_pipeline_check = false
"""
#: Without any cache an unknown token is a 500; this one forgets at once, so that changes act at once.
CACHE = """
class Forgetful:
    def get(self, key, raise_on_error=False):
        return None

    def set(self, key, value, **more):
        pass

    def get_multi(self, keys, server_key=None):
        return [None] * len(keys)

    def set_multi(self, mapping, server_key=None, **more):
        pass

    def delete(self, key, server_key=None):
        pass


def filter_factory(global_conf, **local_conf):
    def wrap(app):
        def call(environ, start_response):
            environ["swift.cache"] = Forgetful()
            return app(environ, start_response)
        return call
    return wrap
"""


def serve() -> None:
    """Serve until the process is killed."""
    (home / "devices" / "d1").mkdir(parents=True, exist_ok=True)
    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in KINDS}
    for kind in KINDS:
        where = sockets[kind].getsockname()[1]
        device = {"region": 1, "zone": 1, "device": "d1", "weight": 1.0}
        device |= {"ip": "127.0.0.1", "port": where, "replication_ip": "127.0.0.1", "replication_port": where}
        ring = RingBuilder(4, 1, 0)
        ring.add_dev(device)
        ring.rebalance()
        ring.get_ring().save(str(home / f"{kind}.ring.gz"))
        pipeline = f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        (home / f"{kind}.conf").write_text(COMMON + pipeline)
    filters = ("catch_errors", "listing_formats", "bulk", "slo")
    plain = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in filters)
    (home / "proxy.conf").write_text(COMMON + PROXY + plain)
    (home / "forgetful_cache.py").write_text(CACHE)
    sys.path.insert(0, str(home))
    sockets["proxy"] = eventlet.listen(("127.0.0.1", port))
    for kind, socket in sockets.items():
        app = wsgi.loadapp(str(home / f"{kind}.conf"), global_conf={"log_name": kind})
        eventlet.spawn(
            server.server, socket, app, log_output=False, protocol=wsgi.SwiftHttpProtocol,
            capitalize_response_headers=False,
        )  # fmt: skip
    eventlet.sleep(10**6)


if __name__ == "__main__":
    serve()
