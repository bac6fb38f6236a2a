"""/v2/images/{image_id}/file"""

import re
from contextlib import ExitStack

from ferrotype.model.errors import Invalid
from ferrotype.model.image import Image
from ferrotype.service import data
from ferrotype.service.copies import Download
from ferrotype.web import ranges, transfers
from ferrotype.web.errors import HTTPError
from ferrotype.web.http import NO_CONTENT, DataResponse, Request, Response

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)


async def upload(request: Request) -> Response:
    """PUT /v2/images/{image_id}/file"""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/octet-stream":
        raise HTTPError(415, "The content type of image data must be application/octet-stream.")
    announced = _announced(request)
    store_id = request.headers.get("x-image-meta-store")
    image_id = request.params["image_id"]
    with transfers.transfer(request):
        await data.upload(request.ctx, request.caller, image_id, request.stream(), announced, store_id)
    return Response(NO_CONTENT)


def _announced(request: Request) -> int | None:
    """Return the size that the client announces; None where it is not known."""
    stated = request.headers.get("x-openstack-image-size")
    if stated is None:
        return int(request.headers.get("content-length", "0")) or None
    if not _INTEGER.fullmatch(stated) or len(stated) > 40:
        raise Invalid(f"'X-OpenStack-Image-Size' must be an integer; got '{stated[:32]}'.")
    if int(stated) < 0:  # It would be booked as negative usage, and raise the quota.
        raise Invalid("'X-OpenStack-Image-Size' must not be negative.")
    return int(stated) or None


async def download(request: Request) -> Response:
    """GET /v2/images/{image_id}/file"""
    prefer = dict(request.query()).get("prefer")
    wanted = data.preferred(request.ctx, prefer) if prefer is not None and prefer.strip(", ") else ()
    with ExitStack() as ending:
        ending.enter_context(transfers.transfer(request))
        image, found = await data.download(request.ctx, request.caller, request.params["image_id"], wanted)
        if found is None:
            return Response(NO_CONTENT)
        try:
            response = _data_response(request, image, found)
        except BaseException:
            await found.close()
            raise
        if isinstance(response, DataResponse):
            response.on_close = ending.pop_all().close
        else:
            await found.close()
        return response


def _data_response(request: Request, image: Image, found: Download) -> Response:
    etag = ranges.etag_of(image)
    headers = [("content-type", "application/octet-stream"), ("accept-ranges", "bytes")]
    if etag:
        headers.append(("etag", etag))
    if image.checksum:
        headers.append(("content-md5", image.checksum))
    # Stored XSS: the data may be a web page, which a browser must save and not open.
    headers += [("x-content-type-options", "nosniff"), ("content-disposition", "attachment")]
    if ranges.precondition_failed(request, etag):
        raise HTTPError(412, "The image data does not match 'If-Match'.")
    if ranges.not_modified(request, etag):
        return Response(304, b"", [("etag", etag or "")])
    size = found.size
    part = ranges.part(request, size, etag)
    if part is None:
        return DataResponse(200, found, 0, size, headers)
    offset, count = part
    headers.append(("content-range", f"bytes {offset}-{offset + count - 1}/{size}"))
    return DataResponse(206, found, offset, count, headers)
