"""Objects in a container of Azure Blob Storage. Azure itself discards parts that were not completed within a week."""

from typing import Any
from urllib.parse import quote, unquote

from obstore.store import AzureStore as AzureContainer

from ferrotype.config.azure_store import AzureStore
from ferrotype.offload import ThreadPools
from ferrotype.stores.object_store import ObjectStoreDriver


class AzureDriver(ObjectStoreDriver):
    """One container."""

    def __init__(self, store: str, options: AzureStore, pools: ThreadPools):
        config: Any = {"account_name": options.account, "container_name": options.container}
        if options.key:
            config["account_key"] = options.key
        if options.endpoint:
            config["endpoint"] = options.endpoint
        self._place = f"azure://{options.account}/{options.container}/"

        def client(client_options: Any, retries: Any) -> AzureContainer:
            return AzureContainer(config=config, client_options=client_options, retry_config=retries)

        super().__init__(client, options.properties)

    def url(self, handle: str) -> str:
        return self._place + quote(handle)

    def parse(self, url: str) -> str | None:
        handle = unquote(url.removeprefix(self._place))
        return (
            handle if handle and "/" not in handle and handle not in (".", "..") and url == self.url(handle) else None
        )
