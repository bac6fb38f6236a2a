"""/v2/images/{image_id}/import and /stage: no import method is enabled in this version"""

from ferrotype.model.errors import Invalid, NotFound
from ferrotype.service import info
from ferrotype.web import bodies
from ferrotype.web.http import Request, Response


async def import_image(request: Request) -> Response:
    """POST /v2/images/{image_id}/import"""
    method = await bodies.import_method(request)
    enabled = ", ".join(info.import_methods(request.ctx)) or "none"
    raise Invalid(f"Import method '{method[:64]}' is not enabled; enabled: {enabled}.")


async def stage(request: Request) -> Response:
    """PUT /v2/images/{image_id}/stage"""
    raise NotFound("Staging requires the import method glance-direct, which is not enabled.")
