"""/v2/images/{image_id}/import and /stage, as long as no import method is enabled"""

from ferrotype.model.errors import Invalid, NotFound
from ferrotype.service import info
from ferrotype.web import bodies
from ferrotype.web.http import Request, Response


async def import_image(request: Request) -> Response:
    """POST /v2/images/{image_id}/import"""
    document = await bodies.json_object(request)
    method = document.get("method")
    if not isinstance(method, dict) or not isinstance(method.get("name"), str):
        raise Invalid("'method' must be an object with a 'name'.")
    for key in ("all_stores", "all_stores_must_succeed"):
        if not isinstance(document.get(key, False), bool):
            raise Invalid(f"'{key}' must be true or false.")
    enabled = ", ".join(info.import_methods(request.ctx)) or "none"
    raise Invalid(f"Import method '{method['name'][:64]}' is not enabled; enabled: {enabled}.")


async def stage(request: Request) -> Response:
    """PUT /v2/images/{image_id}/stage"""
    raise NotFound("Staging needs the import method glance-direct, which is not enabled.")
