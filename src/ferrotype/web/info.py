"""/v2/info: what this deployment can do"""

from ferrotype.service import info, quotas
from ferrotype.web import documents
from ferrotype.web.http import Request, Response, json_response


async def import_methods(request: Request) -> Response:
    """GET /v2/info/import"""
    return json_response(documents.import_methods(info.import_methods(request.ctx)))


async def stores(request: Request) -> Response:
    """GET /v2/info/stores"""
    return json_response(documents.stores(info.stores(request.ctx)))


async def stores_detail(request: Request) -> Response:
    """GET /v2/info/stores/detail"""
    return json_response(documents.stores_detail(info.stores_detail(request.ctx, request.caller)))


async def usage(request: Request) -> Response:
    """GET /v2/info/usage"""
    return json_response(documents.usage(await quotas.project_usage(request.ctx, request.caller)))
