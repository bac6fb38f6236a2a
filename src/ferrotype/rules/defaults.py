"""The default policy rules: name -> text, and what each rule guards.

The texts are in the policy language. ``legacy`` has the rules without roles (``enforce_new_defaults`` off):
anyone may read, the owner may write.
"""

from collections.abc import Mapping
from typing import NamedTuple

_ADMIN = "role:admin"
_SERVICE = "role:service or role:admin"
_OWNER_READS = "role:admin or (role:reader and project_id:%(project_id)s)"
_OWNER_WRITES = "role:admin or (role:member and project_id:%(project_id)s)"
_REACH = (
    "(project_id:%(project_id)s or project_id:%(member_id)s"
    " or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s)"
)
_OWNER = "role:admin or project_id:%(project_id)s"
_MEMBER = "role:admin or project_id:%(member_id)s"


class Default(NamedTuple):
    """One rule: its text, its text without roles, what it guards, and the requests that are checked with it."""

    text: str
    legacy: str
    guards: str
    calls: tuple[str, ...] = ()


_IMAGE = "/v2/images/{image_id}"

DEFAULTS: Mapping[str, Default] = {
    "default": Default("", "", "Used for a rule that is referred to and does not exist."),
    "context_is_admin": Default(_ADMIN, _ADMIN, "Callers who are administrators."),
    "service_api": Default(_SERVICE, _SERVICE, "Callers who are other OpenStack services."),
    "add_image": Default(_OWNER_WRITES, _OWNER, "Create an image.", ("POST /v2/images",)),
    "get_images": Default(_OWNER_READS, "", "List images.", ("GET /v2/images",)),
    "get_image": Default(
        f"role:admin or (role:reader and {_REACH})",
        "",
        "Show an image; other callers get 404.",
        (f"GET {_IMAGE}",),
    ),
    "modify_image": Default(
        _OWNER_WRITES, _OWNER, "Change an image or its tags.", (f"PATCH {_IMAGE}", f"PUT {_IMAGE}/tags/{{tag}}")
    ),
    "delete_image": Default(_OWNER_WRITES, _OWNER, "Delete an image.", (f"DELETE {_IMAGE}",)),
    "publicize_image": Default(_ADMIN, _ADMIN, "Make an image public.", ("POST /v2/images", f"PATCH {_IMAGE}")),
    "communitize_image": Default(
        _OWNER_WRITES, _OWNER, "Make an image a community image.", ("POST /v2/images", f"PATCH {_IMAGE}")
    ),
    "download_image": Default(
        f"role:admin or (role:member and {_REACH})", "", "Get an image's data.", (f"GET {_IMAGE}/file",)
    ),
    "download_from_store": Default(
        f"role:admin or (role:member and {_REACH})",
        "",
        "Choose the store from which an image's data is read.",
        (f"GET {_IMAGE}/file?prefer={{stores}}",),
    ),
    "upload_image": Default(_OWNER_WRITES, _OWNER, "Upload an image's data.", (f"PUT {_IMAGE}/file",)),
    "copy_image": Default(_ADMIN, _ADMIN, "Copy an image's data to further stores.", (f"POST {_IMAGE}/import",)),
    "get_image_location": Default(
        _OWNER_READS,
        "",
        "Show the locations of an image.",
        (f"GET {_IMAGE}", "DELETE /v2/stores/{store_id}/{image_id}"),
    ),
    "set_image_location": Default(
        _OWNER_WRITES, _OWNER, "Add or replace locations in an image.", (f"PATCH {_IMAGE}",)
    ),
    "delete_image_location": Default(
        _ADMIN,
        _OWNER,
        "Remove a copy of an image's data.",
        (f"PATCH {_IMAGE}", "DELETE /v2/stores/{store_id}/{image_id}"),
    ),
    "add_image_location": Default(
        f"{_SERVICE} or (role:member and project_id:%(project_id)s)",
        f"{_SERVICE} or (role:member and project_id:%(project_id)s)",
        "Add a location with existing data.",
        (f"POST {_IMAGE}/locations",),
    ),
    "fetch_image_location": Default(
        _SERVICE, _SERVICE, "List the locations of an image.", (f"GET {_IMAGE}/locations",)
    ),
    "add_member": Default(_OWNER_WRITES, _OWNER, "Share an image with a project.", (f"POST {_IMAGE}/members",)),
    "delete_member": Default(
        _OWNER_WRITES, _OWNER, "Stop sharing an image with a project.", (f"DELETE {_IMAGE}/members/{{member_id}}",)
    ),
    "get_member": Default(
        f"{_OWNER_READS} or (role:reader and project_id:%(member_id)s)",
        "",
        "Show a member.",
        (f"GET {_IMAGE}/members/{{member_id}}",),
    ),
    "get_members": Default(
        f"{_OWNER_READS} or (role:reader and project_id:%(member_id)s)",
        "",
        "List the members of an image.",
        (f"GET {_IMAGE}/members",),
    ),
    "modify_member": Default(
        "role:admin or (role:member and project_id:%(member_id)s)",
        _MEMBER,
        "Accept or reject an image.",
        (f"PUT {_IMAGE}/members/{{member_id}}",),
    ),
    "deactivate": Default(_OWNER_WRITES, _OWNER, "Deactivate an image.", (f"POST {_IMAGE}/actions/deactivate",)),
    "reactivate": Default(_OWNER_WRITES, _OWNER, "Reactivate an image.", (f"POST {_IMAGE}/actions/reactivate",)),
    "stores_info_detail": Default(
        _SERVICE, _ADMIN, "Show the stores with their configuration.", ("GET /v2/info/stores/detail",)
    ),
}

#: Names that operators' files may have although nothing here asks for them yet, or ever will.
ACCEPTED = frozenset(
    [
        "manage_image_cache", "cache_list", "cache_image", "cache_delete", "cache_clean", "cache_prune",
        "list_cached_nodes", "tasks_api_access", "get_task", "get_tasks", "add_task", "modify_task",
        "metadef_default", "metadef_admin",
        *(f"{verb}_metadef_{noun}" for noun in ("namespace", "object", "property", "tag")
          for verb in ("get", "add", "modify", "delete")),
        *(f"get_metadef_{noun}" for noun in ("namespaces", "objects", "properties", "tags", "resource_type")),
        "add_metadef_tags", "modify_metadef_tags", "delete_metadef_tags", "remove_metadef_property",
        "list_metadef_resource_types", "add_metadef_resource_type_association",
        "remove_metadef_resource_type_association",
    ]
)  # fmt: skip


def texts(new_defaults: bool) -> dict[str, str]:
    """Return the text of every rule, with roles or without."""
    return {name: each.text if new_defaults else each.legacy for name, each in DEFAULTS.items()}
