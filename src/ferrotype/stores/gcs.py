"""Objects in a bucket of Google Cloud Storage. Unfinished uploads are neither listed nor removed: obstore cannot."""

from typing import Any
from urllib.parse import quote, unquote

from obstore.store import GCSStore as GcsBucket

from ferrotype.config.gcs_store import GcsStore
from ferrotype.offload import ThreadPools
from ferrotype.stores.object_store import ObjectStoreDriver


class GcsDriver(ObjectStoreDriver):
    """One bucket, or what has a prefix in it."""

    def __init__(self, store: str, options: GcsStore, pools: ThreadPools):
        config: Any = {"bucket": options.bucket}
        if options.credentials_file:
            config["service_account"] = str(options.credentials_file)
        self._place = f"gs://{options.bucket}/"

        def client(client_options: Any, retries: Any) -> GcsBucket:
            return GcsBucket(config=config, client_options=client_options, retry_config=retries)

        super().__init__(client, options.properties, options.prefix)

    def url(self, handle: str) -> str:
        return self._place + quote(handle)

    def parse(self, url: str) -> str | None:
        handle = unquote(url.removeprefix(self._place + self._prefix))
        key = self._prefix + handle
        return key if handle and "/" not in handle and handle not in (".", "..") and url == self.url(key) else None
