"""/v2/info: what this deployment can do"""

from ferrotype.service import info, quotas
from ferrotype.web.http import Request, Response, json_response


async def import_methods(request: Request) -> Response:
    """GET /v2/info/import"""
    value = info.import_methods(request.ctx)
    return json_response(
        {"import-methods": {"description": "Import methods available.", "type": "array", "value": value}}
    )


async def stores(request: Request) -> Response:
    """GET /v2/info/stores"""
    return json_response({"stores": info.stores(request.ctx)})


async def stores_detail(request: Request) -> Response:
    """GET /v2/info/stores/detail"""
    return json_response({"stores": info.stores_detail(request.ctx, request.caller)})


async def usage(request: Request) -> Response:
    """GET /v2/info/usage"""
    return json_response({"usage": await quotas.shown(request.ctx, request.caller)})
