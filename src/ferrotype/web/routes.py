"""The routes of the API: path -> method -> handler."""

from ferrotype.web import data, images, imports, info, locations, members, schemas
from ferrotype.web.http import Handler

Methods = dict[str, Handler]

ROUTES: dict[str, Methods] = {
    "images": {"GET": images.list_images, "POST": images.create_image},
    "images/{image_id}": {"GET": images.show_image, "PATCH": images.update_image, "DELETE": images.delete_image},
    "images/{image_id}/file": {"GET": data.download, "PUT": data.upload},
    "images/{image_id}/stage": {"PUT": imports.stage},
    "images/{image_id}/import": {"POST": imports.import_image},
    "images/{image_id}/actions/deactivate": {"POST": images.deactivate},
    "images/{image_id}/actions/reactivate": {"POST": images.reactivate},
    "images/{image_id}/tags/{tag}": {"PUT": images.add_tag, "DELETE": images.remove_tag},
    "images/{image_id}/members": {"GET": members.list_members, "POST": members.add_member},
    "images/{image_id}/members/{member_id}": {
        "GET": members.show_member,
        "PUT": members.update_member,
        "DELETE": members.remove_member,
    },
    "images/{image_id}/locations": {"GET": locations.list_locations, "POST": locations.add_location},
    "images/{image_id}/tasks": {"GET": images.list_tasks},
    "stores/{store_id}/{image_id}": {"DELETE": locations.delete_from_store},
    "schemas/image": {"GET": schemas.image},
    "schemas/images": {"GET": schemas.images},
    "schemas/member": {"GET": schemas.member},
    "schemas/members": {"GET": schemas.members},
    "info/import": {"GET": info.import_methods},
    "info/stores": {"GET": info.stores},
    "info/stores/detail": {"GET": info.stores_detail},
    "info/usage": {"GET": info.usage},
}

#: First segments of the routes.
ROOTS = frozenset(path.partition("/")[0] for path in ROUTES)

#: Handlers that take a body; with any other a body is an error (400).
READ_BODY: frozenset[Handler] = frozenset(
    {
        images.create_image,
        images.update_image,
        members.add_member,
        members.update_member,
        data.upload,
        imports.stage,
        imports.import_image,
        locations.add_location,
        images.list_images,  # The API ignores a body here (IMG-LIST-10).
    }
)

#: Paths where another method is 404 instead of 405.
NO_OTHER_METHOD = frozenset({"images/{image_id}/tasks"})


class _Route:
    """A path of the table, split: which segments are fixed, which are parameters."""

    def __init__(self, path: str):
        parts = path.split("/")
        self.path = path
        self.names = tuple((index, part) for index, part in enumerate(parts) if not part.startswith("{"))
        self.parameters = tuple((index, part[1:-1]) for index, part in enumerate(parts) if part.startswith("{"))


_BY_LENGTH: dict[int, list[_Route]] = {}
for _path in ROUTES:
    _BY_LENGTH.setdefault(_path.count("/") + 1, []).append(_Route(_path))


def find(segments: list[str]) -> tuple[str, dict[str, str]] | None:
    """Return the matching path of the table and the values of its parameters; None without a match."""
    for route in _BY_LENGTH.get(len(segments), ()):
        if all(segments[index] == name for index, name in route.names):
            parameters = {name: segments[index] for index, name in route.parameters}
            return (route.path, parameters) if all(parameters.values()) else None
    return None


def allowed(path: str) -> str:
    """Return the methods of a path for an ``Allow`` header; GET implies HEAD."""
    methods: list[str] = []
    for method in ROUTES[path]:
        methods += [method, "HEAD"] if method == "GET" else [method]
    return ", ".join(methods)
