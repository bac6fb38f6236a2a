"""/v2/images/{image_id}/members"""

from ferrotype.service import members
from ferrotype.web import bodies, documents
from ferrotype.web.http import NO_CONTENT, Request, Response, json_response


async def list_members(request: Request) -> Response:
    """GET /v2/images/{image_id}/members"""
    found = await members.list_members(request.ctx, request.caller, request.params["image_id"])
    return json_response(documents.members(found))


async def show_member(request: Request) -> Response:
    """GET /v2/images/{image_id}/members/{member_id}"""
    image_id, member_id = request.params["image_id"], request.params["member_id"]
    found = await members.show_member(request.ctx, request.caller, image_id, member_id)
    return json_response(documents.member(found))


async def add_member(request: Request) -> Response:
    """POST /v2/images/{image_id}/members"""
    name = await bodies.member_name(request)
    added = await members.add_member(request.ctx, request.caller, request.params["image_id"], name)
    return json_response(documents.member(added))


async def update_member(request: Request) -> Response:
    """PUT /v2/images/{image_id}/members/{member_id}"""
    status = await bodies.member_status(request)
    image_id, member_id = request.params["image_id"], request.params["member_id"]
    updated = await members.set_member_status(request.ctx, request.caller, image_id, member_id, status)
    return json_response(documents.member(updated))


async def remove_member(request: Request) -> Response:
    """DELETE /v2/images/{image_id}/members/{member_id}"""
    image_id, member_id = request.params["image_id"], request.params["member_id"]
    await members.remove_member(request.ctx, request.caller, image_id, member_id)
    return Response(NO_CONTENT)
