"""/v2/images and /v2/images/{image_id}"""

from contextlib import nullcontext

from ferrotype.service import images, info, patches
from ferrotype.web import bodies, documents, queries, transfers
from ferrotype.web.http import NO_CONTENT, Request, Response, json_response


async def create_image(request: Request) -> Response:
    """POST /v2/images"""
    new = await bodies.new_image(request)
    image = await images.create_image(request.ctx, request.caller, new)
    headers = [("location", f"{request.base}/v2/images/{image.id}")]
    if methods := info.import_methods(request.ctx):
        headers.append(("openstack-image-import-methods", ",".join(methods)))
    if store_ids := info.store_ids(request.ctx):
        headers.append(("openstack-image-store-ids", ",".join(store_ids)))
    return json_response(documents.image(request.ctx.view, request.caller, image), 201, headers)


async def list_images(request: Request) -> Response:
    """GET /v2/images"""
    pairs = request.query()
    query = queries.image_query(pairs, request.ctx.config.api)
    page = await images.list_images(request.ctx, request.caller, query)
    return json_response(documents.image_page(request.ctx.view, request.caller, page, pairs, query.limit))


async def show_image(request: Request) -> Response:
    """GET /v2/images/{image_id}"""
    image = await images.show_image(request.ctx, request.caller, request.params["image_id"])
    return json_response(documents.image(request.ctx.view, request.caller, image))


async def update_image(request: Request) -> Response:
    """PATCH /v2/images/{image_id}"""
    patch = await bodies.image_patch(request)
    # Data of others is read to its end before it becomes a second copy.
    with transfers.transfer(request) if patch.changes_locations else nullcontext():
        image = await patches.update_image(request.ctx, request.caller, request.params["image_id"], patch)
    return json_response(documents.image(request.ctx.view, request.caller, image))


async def delete_image(request: Request) -> Response:
    """DELETE /v2/images/{image_id}"""
    await images.delete_image(request.ctx, request.caller, request.params["image_id"])
    return Response(NO_CONTENT)


async def deactivate(request: Request) -> Response:
    """POST /v2/images/{image_id}/actions/deactivate"""
    await images.set_active(request.ctx, request.caller, request.params["image_id"], active=False)
    return Response(NO_CONTENT)


async def reactivate(request: Request) -> Response:
    """POST /v2/images/{image_id}/actions/reactivate"""
    await images.set_active(request.ctx, request.caller, request.params["image_id"], active=True)
    return Response(NO_CONTENT)


async def add_tag(request: Request) -> Response:
    """PUT /v2/images/{image_id}/tags/{tag}"""
    await images.add_tag(request.ctx, request.caller, request.params["image_id"], request.params["tag"])
    return Response(NO_CONTENT)


async def remove_tag(request: Request) -> Response:
    """DELETE /v2/images/{image_id}/tags/{tag}"""
    await images.remove_tag(request.ctx, request.caller, request.params["image_id"], request.params["tag"])
    return Response(NO_CONTENT)


async def list_tasks(request: Request) -> Response:
    """GET /v2/images/{image_id}/tasks: this version has no tasks, but the image must be visible"""
    await images.show_image(request.ctx, request.caller, request.params["image_id"])
    return json_response(documents.tasks())
