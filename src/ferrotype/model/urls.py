"""URLs of image data, as locations have them."""


def shown(url: str) -> str:
    """Return a URL for a message: without user and password, and without a query, which may hold a signature."""
    return without_credentials(url).partition("?")[0]


def without_credentials(url: str) -> str:
    """Return a URL without the user and password that locations of old deployments have in it.

    Glance wrote the secrets of S3 and Swift into URLs as they were: they may contain slashes (STOR-52, STOR-54).
    """
    if "@" not in url:
        return url
    scheme, separator, rest = url.partition("://")
    if scheme.lower().partition("+")[0] in ("s3", "swift"):
        return scheme + separator + rest.rpartition("@")[2]
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority.rpartition("@")[2] + slash + path
