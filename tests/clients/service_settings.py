"""How the services of these tests are configured."""

#: More than any image here that is meant to fit.
CAP = 16 * 1024 * 1024
SETTINGS = """
[DEFAULT]
enabled_backends = fast:file, cheap:file
image_size_cap = {cap}
[database]
connection = sqlite:///{home}/ferrotype.sqlite
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {home}/fast
store_description = Quick disks
[cheap]
filesystem_store_datadir = {home}/cheap
[oslo_middleware]
enable_proxy_headers_parsing = true
"""
