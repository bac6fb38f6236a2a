"""Validated tokens that all processes share through memcached, sealed so that memcached need not be trusted.

Whoever can write to memcached must not be able to make anybody somebody: an entry is encrypted and signed with a
key that only the service has, together with the token it is for. An entry that is altered, made up, moved to
another token or older than it may be is as good as none, and so is a memcached that does not answer.
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
from ferrotype.identity.facts import Facts

log = logging.getLogger("ferrotype.identity")

_NONCE = 12
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Facts).decode


class Shared:
    """The second place to look for what a token means. Calls wait: they belong into threads."""

    def __init__(self, config: Memcached, seconds: int):
        self._seconds = seconds
        self._name_key = _derived(config.secret, b"ferrotype token names")
        self._seal = AESGCM(_derived(config.secret, b"ferrotype token entries"))
        self._client = _client(config)

    def get(self, key: bytes) -> Facts | None:
        """Return what was stored for a token, or None."""
        if self._client is None:
            return None
        try:
            entry = self._client.get(self._name(key))
            if entry is None:
                return None
            return _decode(self._seal.decrypt(entry[:_NONCE], entry[_NONCE:], key))
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            log.error("memcached entry ignored: it was not written by this service, or was altered")
        except OSError as error:
            log.warning("memcached is unavailable: %s", error)
        return None

    def put(self, key: bytes, facts: Facts) -> None:
        """Store what a token means."""
        if self._client is None:
            return
        nonce = os.urandom(_NONCE)
        entry = nonce + self._seal.encrypt(nonce, _encode(facts), key)
        try:
            self._client.set(self._name(key), entry, expire=self._seconds)
        except OSError as error:
            log.warning("memcached entry could not be written: %s", error)

    def _name(self, key: bytes) -> str:
        return "ferrotype/token/" + hmac.digest(self._name_key, key, "sha256").hex()


def _derived(secret: str, purpose: bytes) -> bytes:
    # The secret may be a password: what is derived from it is dear to guess.
    return hashlib.scrypt(secret.encode(), salt=purpose, n=1 << 14, r=8, p=1, dklen=32)


def _client(config: Memcached):  # type: ignore[no-untyped-def]
    try:
        from pymemcache.client.hash import HashClient  # Only where a deployment has memcached.
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
        default_noreply=False,  # What was put is there when we go on, and a server that refuses it is noticed.
        ignore_exc=True,  # A server that fails is left alone for a while; nothing depends on it.
        tls_context=context,
    )
