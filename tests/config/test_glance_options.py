"""Options and their values as Glance defines them: what it accepts is accepted here, or the difference is explained.

``glance-33-types.jsonl`` has Glance's definitions; ``glance_types.py`` prints them. The page options-compared.md of
docs/reference has the differences, and these tests fail for any other.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from configurations import MANDATORY
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oslo_config import cfg, types

from ferrotype.config.file_store import FileStore
from ferrotype.config.files import parse
from ferrotype.config.options import STORE, SUPPORTED, Option
from ferrotype.config.read import examine
from ferrotype.config.stores import TYPES, UNSUPPORTED, WITHOUT_DRIVER
from ferrotype.config.table import TABLE
from ferrotype.config.values import Values, load

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "options-compared.md"
GLANCE: dict[tuple[str, str], dict[str, Any]] = {
    (record["section"], record["name"]): record
    for record in map(json.loads, (HERE / "glance-33-types.jsonl").read_text().splitlines())
}
#: Options of stores that have no driver yet are compared too: their values are checked.
CHECKED = {option.title for type_ in WITHOUT_DRIVER.values() for option in type_.options}
BOTH = [
    option
    for option in TABLE.options
    if (option.support == SUPPORTED or option.title in CHECKED) and (option.section, option.name) in GLANCE
]
#: Options whose strings have a syntax of their own here and a type there; they are compared one by one below.
SYNTAX = (
    "enabled_backends", "default_store", "filesystem_store_file_perm", "hashing_algorithm", "disallowed_hosts",
)  # fmt: skip


def glance_type(record: dict[str, Any]) -> Any:
    """Return the type of oslo.config that Glance has."""
    limits = {name: record[name] for name in ("min", "max", "choices", "ignore_case", "quotes") if name in record}
    if record["type"] == "List":
        return types.List(item_type=glance_type(record["item"]), bounds=record.get("bounds", False))
    return getattr(types, record["type"])(**limits)


@cache
def glance_types() -> dict[str, Any]:
    return {option.title: glance_type(GLANCE[option.section, option.name]) for option in BOTH}


def section(option: Option) -> str:
    return "glance_store" if option.section == STORE else option.section


class Reference:
    """The values as Glance's own definitions parse them."""

    def __init__(self, file: Path):
        self.conf = cfg.ConfigOpts()
        for option in BOTH:
            record = GLANCE[option.section, option.name]
            if record.get("multi"):
                opt = cfg.MultiStrOpt(option.name, default=record["default"])
            else:
                opt = cfg.Opt(option.name, type=glance_types()[option.title], default=record["default"])
            group = None if section(option) == "DEFAULT" else section(option)
            self.conf.register_opt(opt, group=group)
        self.conf.register_opt(cfg.Opt("bind_port", type=types.Port(), default=9292))
        args = ["--config-file", str(file)]
        self.conf(args, project="x", default_config_files=[], default_config_dirs=[])

    def get(self, option: Option) -> tuple[bool, Any]:
        """Return whether Glance accepts the value, and the value."""
        group = self.conf if section(option) == "DEFAULT" else self.conf[section(option)]
        try:
            return True, group[option.name]
        except (cfg.Error, ValueError, RecursionError):
            return False, None


def ours(file: Path) -> Values:
    problems: list[str] = []
    readable, lines = parse([file], problems)
    assert problems == []
    return load(TABLE, readable, lines, (), {})


def got(values: Values, option: Option) -> tuple[bool, Any]:
    """Return whether we accept the value, and the value."""
    before = len(values.problems)
    value = values.get(section(option), option.name)
    return len(values.problems) == before, value


def is_explained(option: Option, value: Any) -> bool:
    """Return whether the page has a row for this value that Glance accepts and we refuse."""
    type_ = option.type
    if not isinstance(type_, types.Number):
        return False
    # "An empty number" and "Numbers beyond limits"
    return value is None or not type_.min <= value <= type_.max


def same(option: Option, theirs: Any, mine: Any) -> bool:
    return type(theirs) is type(mine) and bool(theirs == mine)


def differences(file: Path) -> Iterator[str]:
    """Yield a sentence for each option of the file that Glance reads otherwise, without an explanation."""
    reference, values = Reference(file), ours(file)
    for option in BOTH:
        if option.name in SYNTAX or values.line(section(option), option.name) is None:
            continue
        (accepted, theirs), (here, mine) = reference.get(option), got(values, option)
        if accepted and not here and not is_explained(option, theirs):
            yield f"{option.title}: Glance reads {theirs!r}, we refuse it: {values.problems[-1]}"
        elif here and not accepted:
            yield f"{option.title}: we read {mine!r}, which Glance refuses"
        elif here and not same(option, theirs, mine):
            yield f"{option.title}: Glance reads {theirs!r}, we read {mine!r}"


def set_everywhere(directory: Path, fragment: str) -> Path:
    """Return a file that sets every option with the fragment, in which % stands for the option's name."""
    file = directory / "t.conf"
    by_section: dict[str, str] = {}
    for option in BOTH:
        lines = fragment.replace("%", option.name)
        by_section[section(option)] = by_section.get(section(option), "") + lines
    file.write_text("".join(f"[{name}]\n{text}" for name, text in by_section.items()))
    return file


numbers = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([bound + each for bound in (2**15, 2**31, 2**63, 10**6, 65535) for each in (-1, 0, 1)]),
    st.integers(-(2**65), 2**65),
).map(str) | st.sampled_from(
    ["+1", "007", " 5 ", "1_000", "\u0661", "1e3", "1.5", "-0.5", "0x10", "-0", "1 000", "nan"]
)
booleans = st.sampled_from(
    ["true", "TRUE", "True", "yes", "YES", "on", "1", "t", "y", "false", "no", "off", "0", "f", "n"]
)
words = st.sampled_from(["none", "None", "MAC", "mac", "roles", "Roles", "public", "publicURL", "PUBLIC", "internal"])
texts = st.text(st.sampled_from("ab0 ,'\"[]{}()=:;#$%~/\\-_.\u00e9"), max_size=12).map(
    lambda text: text.replace("%", "/")
)
lists = st.lists(st.sampled_from(["a", " b ", '"c d"', "'e'", "", "[f]", "g,h", "1"]), max_size=4).map(",".join)
sizes = st.tuples(st.integers(0, 9999), st.sampled_from(["", "B", "KB", "MB", "GB", "TB", "gb", "GiB", " GB"])).map(
    lambda pair: f"{pair[0]}{pair[1]}"
)
places = st.sampled_from(
    [
        "https://u:p@h:1/p?q=1&r#f",
        "http://[::1]:9292",
        "file:///tmp/x",
        "~/x",
        "$bind_port/x",
        "/srv/a b",
        "../x",
        "C:\\x",
    ]
)
references = st.sampled_from(
    [
        "$bind_port",
        "${bind_port}",
        "${cors.max_age}",
        "$nothing",
        "${cors.nothing}",
        "${nothing.x}",
        "$$",
        "$$x",
        "a$",
        "${",
    ]
)
values_ = numbers | booleans | words | texts | lists | lists.map("[{}]".format) | sizes | places | references
#: How a value may stand in a file; % is the name of the option.
forms = st.sampled_from(
    [
        "% = {0}\n",
        "%={0}\n",
        "%:{0}\n",
        "% = {0}   \n",
        "# % = other\n% = {0}\n; % = other\n",
        "% = {1}\n% = {0}\n",
        "% = {0}\n  {1}\n",
        "% =\n  {0}\n",
        "% = {0}\n\n",
        "% = \"{0}\"\n",
        "% = '{0}\n",
    ]
)  # fmt: skip


def filled(form: str, first: str, second: str) -> str:
    return form.replace("{0}", first).replace("{1}", second)


@pytest.mark.slow
@settings(max_examples=100)
@given(form=forms, first=values_, second=values_)
@example(form="% = {0}\n", first="", second="")
@example(form="% = {0}\n", first="9223372036854775808", second="")
def test_every_value_is_read_as_glance_reads_it(tmp_path_factory, form: str, first: str, second: str) -> None:
    file = set_everywhere(tmp_path_factory.getbasetemp(), filled(form, first, second))
    problems: list[str] = []
    parse([file], problems)
    if problems:  # Glance does not read such a file either: it is the same parser.
        with pytest.raises(cfg.ConfigFileParseError):
            Reference(file)
        return
    assert list(differences(file)) == []  # CFA-206


def test_limits_differ_only_where_the_page_says_so() -> None:
    """Each row of the page's first table, and no other: option, Glance's limits, ours."""
    rows = set()
    for option in BOTH:
        theirs, mine = glance_types()[option.title], option.type or types.String()
        if isinstance(mine, types.Number):
            limits = [f"{'' if each is None else each}" for each in (theirs.min, theirs.max, mine.min, mine.max)]
            if limits[:2] != limits[2:]:
                rows.add(f"| `{option.title}` | {limits[0]} | {limits[1]} | {limits[2]} | {limits[3]} |")
    text = PAGE.read_text()
    shown = {
        line.rsplit(" |", 2)[0] + " |"
        for line in text.splitlines()
        if line.startswith("| `[") and line.count("|") == 7
    }
    assert shown == rows


def test_defaults_differ_only_where_the_page_says_so() -> None:
    differing = set()
    for option in BOTH:
        theirs = GLANCE[option.section, option.name]["default"]
        if meaning(theirs) != meaning(option.default):
            differing.add(option.title)
    text = PAGE.read_text().partition("## Defaults")[2].partition("\n## ")[0]
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `[")} == differing


def meaning(default: Any) -> str:
    return "" if default in (None, []) else str(default).lower()


def test_every_option_of_the_types_without_a_driver_is_glances() -> None:
    """And none of Glance's is missing: the types may set exactly these."""
    prefixes = ("rbd_", "rados_", "swift_", "default_swift_", "cinder_", "rootwrap_", "vmware_")
    theirs = {f"[{section}] {name}" for section, name in GLANCE if section == STORE and name.startswith(prefixes)}
    assert theirs == CHECKED and len(theirs) > 60


def test_former_names_are_the_same() -> None:
    for option in BOTH:
        theirs = {tuple(place) for place in GLANCE[option.section, option.name].get("deprecated", [])}
        # The names of a plugin's options are ours as well; they are passed on under their own names.
        passed_on = {("oslo_limit", f"tenant{dash}{what}") for dash in "-_" for what in ("id", "name")}
        assert theirs - passed_on <= set(option.deprecated_names), option.title


@pytest.mark.parametrize(
    "text",
    ["a:file", "a:file,b:file", " a : file , b:file ", "b:file,a:file", "a", "a:file,b", ":file", "a:",
     "a:file,a:file", "a:file,", ",", "a:file,,b:file", "a:swift", "a:file:x", "", "{a:file}", '"a:file"'],
)  # fmt: skip
def test_the_list_of_stores_is_read_as_glance_reads_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "t.conf"
    sections = "".join(f"[{id_}]\nfilesystem_store_datadir = {tmp_path}/{id_}\n" for id_ in "ab")
    file.write_text(f"[DEFAULT]\nenabled_backends = {text}\n[glance_store]\ndefault_backend = a\n{sections}")
    accepted, theirs = Reference(file).get(TABLE.by_name["DEFAULT", "enabled_backends"])
    reading = examine([file], [], {})
    if text in ("a:file,", "a:file,,b:file"):  # "Stores": commas too many
        assert reading.problems == ()
    elif reading.problems:
        # "Stores": types that are not supported, and lists that Glance understands in part
        known = accepted and set(theirs.values()) <= {*TYPES}
        assert not known or text in ("a:file,a:file", "a:file:x", ":file"), reading.problems
    else:
        stores = reading.config.stores
        mine = {store.id: store.type for store in stores.entries} if stores.multi else {}
        assert accepted and list(theirs.items()) == list(mine.items())


@pytest.mark.parametrize(
    "text",
    ["0", "640", "0640", " 640 ", "-1", "-640", "+640", "6_40", "600", "444", "777", "1777", "240", "680", "x", "00"],
)
def test_permissions_of_files_are_read_as_glance_reads_them(tmp_path: Path, text: str) -> None:
    file = tmp_path / "t.conf"
    file.write_text(
        f"[glance_store]\nfilesystem_store_file_perm = {text}\nfilesystem_store_datadir = {tmp_path}/i\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/t.sqlite\n"
    )
    accepted, theirs = Reference(file).get(TABLE.by_name[STORE, "filesystem_store_file_perm"])
    reading = examine([file], [], {})
    store = reading.config.stores.entries[0]
    assert isinstance(store.options, FileStore)
    if reading.problems:
        # "Stores": modes that lock the owner out, special bits, and spellings of Python
        assert not accepted or text in ("240", "680", "1777", "+640", "6_40"), reading.problems
    else:
        assert accepted and store.options.file_perm == (int(str(theirs), 8) if theirs > 0 else 0)


@pytest.mark.parametrize("type_", [*GLANCE["glance_store", "default_store"]["choices"], "tape", "FILE", ""])
def test_the_type_of_the_one_store_is_one_of_glances(tmp_path: Path, type_: str) -> None:
    file = tmp_path / "t.conf"
    file.write_text(
        f"[glance_store]\ndefault_store = {type_}\nstores = file,http,swift,rbd,cinder,vmware,s3\n{MANDATORY['s3']}"
    )
    accepted, _ = Reference(file).get(TABLE.by_name["glance_store", "default_store"])
    reading = examine([file], [], {})
    store = reading.config.stores.entries[0]
    assert accepted == (store.type in (*TYPES, *UNSUPPORTED))
    assert (reading.problems == ()) == (store.type in TYPES)
