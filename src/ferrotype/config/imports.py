"""Options of image import and tasks. This version has neither; invalid values stop the start all the same."""

from oslo_config import types

from ferrotype.config.options import BRACKETED, COUNT, at_least, ignored_option
from ferrotype.config.values import Values

METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")
_REASON = "this version does not import images"

OPTIONS = (
    ignored_option("DEFAULT", "enabled_import_methods", BRACKETED, _REASON),
    ignored_option("image_import_opts", "image_import_plugins", BRACKETED, _REASON),
    ignored_option("image_import_opts", "max_parallel_stores", at_least(1), _REASON),
    ignored_option("glance_download_properties", "extra_properties", BRACKETED, _REASON),
    ignored_option("image_conversion", "output_format",
                   types.String(choices=["qcow2", "raw", "vmdk"], ignore_case=True), _REASON),
    ignored_option("task", "task_time_to_live", COUNT, "this version has no tasks",
                   deprecated_names=(("DEFAULT", "task_time_to_live"),)),
)  # fmt: skip


def check(values: Values) -> None:
    """Report methods that do not exist; ``read`` checks the types of all values."""
    methods = values.get("DEFAULT", "enabled_import_methods") or []
    if unknown := [method for method in methods if method not in METHODS]:
        text = f"contains the unknown method {unknown[0]!r}; methods are {', '.join(METHODS)}"
        values.problem("DEFAULT", "enabled_import_methods", text)
    elif methods:
        values.warn("[DEFAULT] enabled_import_methods has no effect: this version offers no import method.")
