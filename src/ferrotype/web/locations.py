"""/v2/images/{image_id}/locations and /v2/stores/{store_id}/{image_id}"""

from ferrotype.service import locations
from ferrotype.web import bodies, documents
from ferrotype.web.http import NO_CONTENT, Request, Response, json_response


async def list_locations(request: Request) -> Response:
    """GET /v2/images/{image_id}/locations"""
    found = await locations.list_locations(request.ctx, request.caller, request.params["image_id"])
    return json_response(documents.locations(found))


async def add_location(request: Request) -> Response:
    """POST /v2/images/{image_id}/locations"""
    new = await bodies.new_location(request)
    await locations.add_location(request.ctx, request.caller, request.params["image_id"], new.url)
    return Response(202)


async def delete_from_store(request: Request) -> Response:
    """DELETE /v2/stores/{store_id}/{image_id}"""
    params = request.params
    await locations.delete_from_store(request.ctx, request.caller, params["store_id"], params["image_id"])
    return Response(NO_CONTENT)
