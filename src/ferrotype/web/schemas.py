"""/v2/schemas: the JSON schemas of the API's documents, built once in ``rules.schemas``"""

from ferrotype.web.http import Request, Response, json_response


async def image(request: Request) -> Response:
    """GET /v2/schemas/image"""
    return json_response(request.ctx.schemas.image)


async def images(request: Request) -> Response:
    """GET /v2/schemas/images"""
    return json_response(request.ctx.schemas.images)


async def member(request: Request) -> Response:
    """GET /v2/schemas/member"""
    return json_response(request.ctx.schemas.member)


async def members(request: Request) -> Response:
    """GET /v2/schemas/members"""
    return json_response(request.ctx.schemas.members)
