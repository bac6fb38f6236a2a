"""Every path of the API with example parameters and its allowed methods."""

# MTH-01, with HEAD wherever GET is (MTH-02) and GET of locations among its methods.
METHODS = {
    "images": "GET, HEAD, POST",
    "images/{image_id}": "GET, HEAD, PATCH, DELETE",
    "images/{image_id}/file": "GET, HEAD, PUT",
    "images/{image_id}/stage": "PUT",
    "images/{image_id}/import": "POST",
    "images/{image_id}/actions/deactivate": "POST",
    "images/{image_id}/actions/reactivate": "POST",
    "images/{image_id}/tags/{tag}": "PUT, DELETE",
    "images/{image_id}/members": "GET, HEAD, POST",
    "images/{image_id}/members/{member_id}": "GET, HEAD, PUT, DELETE",
    "images/{image_id}/locations": "GET, HEAD, POST",
    "images/{image_id}/tasks": "GET, HEAD",
    "stores/{store_id}/{image_id}": "DELETE",
    "schemas/image": "GET, HEAD",
    "schemas/images": "GET, HEAD",
    "schemas/member": "GET, HEAD",
    "schemas/members": "GET, HEAD",
    "info/import": "GET, HEAD",
    "info/stores": "GET, HEAD",
    "info/stores/detail": "GET, HEAD",
    "info/usage": "GET, HEAD",
}
KNOWN = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ODD = ("TRACE", "PROPFIND", "FOO")
NO_IMAGE = "11111111-2222-3333-4444-555555555555"
GOT = sorted(path for path, methods in METHODS.items() if "GET" in methods)


def concrete(path: str, image_id: str = NO_IMAGE) -> str:
    """Return the path with example values for its parameters."""
    return "/v2/" + path.format(image_id=image_id, tag="a-tag", member_id="p9", store_id="fast")


def allowed(path: str) -> list[str]:
    """Return the methods of a path."""
    return METHODS[path].split(", ")
