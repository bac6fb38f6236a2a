"""/v2/images/{image_id}/locations and /v2/stores/{store_id}/{image_id}"""

import re
from typing import Any

from ferrotype.model.errors import Invalid
from ferrotype.service import locations
from ferrotype.web import bodies
from ferrotype.web.http import NO_CONTENT, Request, Response, json_response

_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


async def list_locations(request: Request) -> Response:
    """GET /v2/images/{image_id}/locations"""
    found = await locations.list_locations(request.ctx, request.caller, request.params["image_id"])
    return json_response([{"url": each.url, "metadata": each.metadata} for each in found])


async def add_location(request: Request) -> Response:
    """POST /v2/images/{image_id}/locations"""
    document = await bodies.json_object(request)
    url = document.get("url")
    if not isinstance(url, str):
        raise Invalid("'url' must be a text.")
    _check_validation(document.get("validation_data", {}))
    await locations.add_location(request.ctx, request.caller, request.params["image_id"], url)
    return Response(202)


def _check_validation(given: Any) -> None:
    if not isinstance(given, dict) or given.keys() - {"os_hash_algo", "os_hash_value"}:
        raise Invalid("'validation_data' must be an object with os_hash_algo and os_hash_value alone.")
    if not given:
        return
    algorithm, value = given.get("os_hash_algo"), given.get("os_hash_value")
    if not isinstance(algorithm, str) or algorithm not in _DIGITS:
        raise Invalid(f"'os_hash_algo' must be one of {', '.join(_DIGITS)}.")
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{_DIGITS[algorithm]}}}", value):
        raise Invalid(f"'os_hash_value' must have {_DIGITS[algorithm]} hexadecimal digits for {algorithm}.")


async def delete_from_store(request: Request) -> Response:
    """DELETE /v2/stores/{store_id}/{image_id}"""
    params = request.params
    await locations.delete_from_store(request.ctx, request.caller, params["store_id"], params["image_id"])
    return Response(NO_CONTENT)
