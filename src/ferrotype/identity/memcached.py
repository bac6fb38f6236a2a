"""A cache of validated tokens that all processes share through memcached.

Entries are encrypted and authenticated (AES-GCM, bound to the token's hash), so write access to memcached does not
let anyone impersonate a user. Altered, forged, swapped and outdated entries are ignored, and so is an outage.
"""

import hashlib
import hmac
import logging
import os
import ssl

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ferrotype.config.keystone import Memcached
from ferrotype.identity.token_info import TokenInfo

log = logging.getLogger("ferrotype.identity")

_NONCE = 12
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TokenInfo).decode


class MemcachedTokenCache:
    """The second-level cache of token validations. Calls block; run them in threads."""

    def __init__(self, config: Memcached, seconds: int):
        self._seconds = seconds
        self._name_key = _derive_key(config.secret, b"ferrotype token names")
        self._cipher = AESGCM(_derive_key(config.secret, b"ferrotype token entries"))
        self._client = _client(config)

    def get(self, key: bytes) -> TokenInfo | None:
        """Return the cached validation of a token, or None."""
        if self._client is None:
            return None
        try:
            entry = self._client.get(self._name(key))
            if entry is None:
                return None
            return _decode(self._cipher.decrypt(entry[:_NONCE], entry[_NONCE:], key))
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            log.error("memcached entry ignored: it was not written by this service, or was altered")
        except OSError as error:
            log.warning("memcached is unavailable: %s", error)
        return None

    def put(self, key: bytes, info: TokenInfo) -> None:
        """Store the validation of a token."""
        if self._client is None:
            return
        nonce = os.urandom(_NONCE)
        entry = nonce + self._cipher.encrypt(nonce, _encode(info), key)
        try:
            self._client.set(self._name(key), entry, expire=self._seconds)
        except OSError as error:
            log.warning("memcached entry could not be written: %s", error)

    def _name(self, key: bytes) -> str:
        return "ferrotype/token/" + hmac.digest(self._name_key, key, "sha256").hex()


def _derive_key(secret: str, purpose: bytes) -> bytes:
    # The secret may be a password: scrypt makes guessing it expensive.
    return hashlib.scrypt(secret.encode(), salt=purpose, n=1 << 14, r=8, p=1, dklen=32)


def _client(config: Memcached):  # type: ignore[no-untyped-def]
    try:
        from pymemcache.client.hash import HashClient  # Optional dependency.
    except ImportError:
        log.error(
            "memcached_servers has no effect until the package pymemcache is installed; each process caches alone"
        )
        return None
    context = None
    if config.tls:
        context = ssl.create_default_context(cafile=config.cafile)
        if config.certfile:
            context.load_cert_chain(config.certfile, config.keyfile)
        if config.ciphers:
            context.set_ciphers(config.ciphers)
    return HashClient(
        [server.removeprefix("inet6:").removeprefix("inet:") for server in config.servers],
        connect_timeout=config.timeout,
        timeout=config.timeout,
        use_pooling=True,
        max_pool_size=config.connections,
        retry_attempts=0,
        dead_timeout=config.dead_retry,
        default_noreply=False,  # A put is complete when it returns, and an error is noticed.
        ignore_exc=True,  # A failed server is a cache miss, and not used for dead_timeout seconds.
        tls_context=context,
    )
