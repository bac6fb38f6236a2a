"""Every exception of the product is in one tree, so that one ``except`` covers what Ferrotype raises on purpose."""

import importlib
import inspect

from repository import PRODUCT, product

from ferrotype.model.errors import FerrotypeError

TEST_ONLY = "testing/"
#: Modules that do something when they are imported.
RUN_BY_OTHERS = {"__main__.py", "db/migrations/env.py"}


def exceptions_of_the_product() -> dict[str, type[BaseException]]:
    """Return every exception class that a module of the product defines, by its full name."""
    found = {}
    for path in product():
        if path.startswith(TEST_ONLY) or path in RUN_BY_OTHERS:
            continue
        name = "ferrotype." + path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = importlib.import_module(name.removesuffix(".__init__"))
        for each in vars(module).values():
            if inspect.isclass(each) and issubclass(each, BaseException) and each.__module__ == module.__name__:
                found[f"{each.__module__}.{each.__qualname__}"] = each
    return found


def test_every_exception_is_a_ferrotype_error() -> None:
    found = exceptions_of_the_product()
    assert len(found) > 20 and "ferrotype.web.errors.HTTPError" in found
    outside = {name for name, each in found.items() if not issubclass(each, FerrotypeError)}
    assert outside == set(), "derive these from FerrotypeError, in model/errors.py"


def test_the_tree_is_drawn_where_it_begins() -> None:
    drawn = (PRODUCT / "model" / "errors.py").read_text().split('"""')[1]
    for name, each in exceptions_of_the_product().items():
        if each.__module__ == "ferrotype.model.errors":
            assert f" {each.__name__}" in drawn or each is FerrotypeError, f"{name} is missing in the docstring"
