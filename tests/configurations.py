"""Configurations in which the options of an area have an effect."""

from ferrotype.config import stores
from ferrotype.config.options import Option

LOGIN = "auth_type = password\nauth_url = http://k\nusername = u\npassword = p\n"
#: What the configuration must have for an option of these records to have an effect.
BASES = {
    "database": "[database]\nconnection = postgresql://h/x\n",
    "accounts": "[DEFAULT]\nauth_strategy = http_basic\n",
    "keystone": f"[DEFAULT]\nauth_strategy = keystone\n[keystone_authtoken]\nmemcached_servers = m\n{LOGIN}",
    "unified_limits": f"[DEFAULT]\nuse_keystone_limits = true\n[oslo_limit]\n{LOGIN}",
    "stores": "[DEFAULT]\nenabled_backends = a:file,b:file\n[glance_store]\ndefault_backend = a\n",
}
#: The options that a store of a type must have.
MANDATORY = {
    "swift": "swift_store_auth_address = https://k/v3\nswift_store_user = p:u\nswift_store_key = hunter2\n",
    "vmware": "vmware_server_host = esx\nvmware_server_username = u\nvmware_server_password = hunter2\n"
    "vmware_datastores = dc:ds\n",
    "s3": "s3_store_host = h\ns3_store_bucket = bucket\ns3_store_access_key = k\ns3_store_secret_key = hunter2\n",
    "gcs": "gcs_store_bucket = bucket\n",
    "azure": "azure_store_account = account\nazure_store_container = container\n",
}


def store_type(option: Option) -> str:
    """Return the type of store that has the option; file for those of every type."""
    types = {**stores.TYPES, **stores.WITHOUT_DRIVER}
    return next((name for name, type_ in types.items() if option in type_.options), "file")
