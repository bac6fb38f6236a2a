"""One cause, one message: an invalid value of any supported option is one problem, and nothing follows from it."""

from pathlib import Path

import pytest
from configurations import BASES, MANDATORY, store_type
from oslo_config import types

from ferrotype.config.file_store import FileStore
from ferrotype.config.options import BIGINT, STORE, SUPPORTED, Option, is_secret
from ferrotype.config.read import examine
from ferrotype.config.table import TABLE

SUPPORTED_OPTIONS = [option for option in TABLE.options if option.support == SUPPORTED]
#: Values that are invalid although the type of the option is a string.
WRONG = {
    "public_endpoint": "images.example.org", "allowed_origin": "dashboard", "allow_methods": "A B",
    "allow_headers": "A B", "expose_headers": "A B", "auth_strategy": "noauth", "flavor": "mine",
    "connection": "oracle://h/x", "connection_parameters": "sslmode=no", "user_storage_quota": "1.5GB",
    "disk_formats": "a b", "container_formats": "a b", "gpt_safety_checks_nonfatal": "all", "enabled_backends": "a",
    "default_backend": "nothing", "stores": "tape", "default_store": "tape", "filesystem_store_datadir": "{file}",
    "filesystem_store_datadirs": "/d:high", "filesystem_store_file_perm": "680", "cafile": "/nowhere",
    "certfile": "/nowhere", "keyfile": "/nowhere", "auth_section": "nowhere", "auth_type": "", "auth_url": "",
    "username": "", "password": "", "property_protection_file": "/nowhere", "s3_store_host": "u:p@h",
    "s3_store_bucket": "a/b", "s3_store_cacert": "/nowhere", "s3_store_bucket_url_format": "nothing",
    "gcs_store_bucket": "A", "gcs_store_prefix": "//",
    "gcs_store_credentials_file": "/nowhere", "azure_store_account": "A", "azure_store_container": "-",
    "azure_store_key": "hunter2!", "azure_store_endpoint": "https://u:p@h",
}  # fmt: skip


def base(directory: Path, option: Option) -> str:
    """Return a configuration in which the option has an effect and nothing is wrong."""
    record, _, _ = (option.dest or "").partition(".")
    record = "keystone" if option.section == "keystone_authtoken" else record
    single = option.name in ("enabled_backends", "default_store", "use_keystone_limits", "stores")
    text = f"[database]\nconnection = sqlite:///{directory}/t.sqlite\n[DEFAULT]\nbind_host = ::1\n"
    text += "" if single else BASES.get(record, "").replace("a:file", f"a:{store_type(option)}")
    if record == "unified_limits" and not single:
        text += "endpoint_id = e\n"
    (directory / "protections").write_text("[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n")
    if option.name.startswith("property_protection"):
        text += "[DEFAULT]\nproperty_protection_file = protections\n"
    if option.name == "enabled_backends":
        text += "[glance_store]\ndefault_backend = a\n"
    text += f"[backend_defaults]\n{MANDATORY.get(store_type(option), '')}"
    return text + "".join(
        f"[{id_}]\nfilesystem_store_datadir = {directory}/{id_}\n"
        for id_ in ("b" if option.name == "filesystem_store_datadirs" else "ab")
    )


def found(directory: Path, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    file = directory / "t.conf"
    file.write_text(text)
    reading = examine([file], [], {})
    return reading.problems, reading.config.warnings


def only_problem(directory: Path, option: Option, value: str) -> str:
    """Return the one problem with the value, after a look at what else is said."""
    text = base(directory, option)
    problems, warnings = found(directory, text)
    assert problems == ()
    section = "a" if option.section == STORE else option.section
    problems, more = found(directory, f"{text}[{section}]\n{option.name} = {value}\n")
    assert len(problems) == 1, problems
    assert set(more) <= set(warnings), "a warning follows from the invalid value"
    assert f"[{section}] {option.name}" in problems[0] and "t.conf:" in problems[0]
    return problems[0]


@pytest.mark.parametrize("option", SUPPORTED_OPTIONS, ids=lambda option: option.title)
def test_a_dollar_sign_that_refers_to_nothing_is_one_problem(tmp_path: Path, option: Option) -> None:
    problem = only_problem(tmp_path, option, "x$nothing-such")  # CFA-205
    assert "refers with $ to an option that does not exist, or to itself; write $$ for a dollar sign." in problem
    assert "nothing-such" not in problem


def wrong(option: Option) -> dict[str, str]:
    """Return invalid values of the option, each with what the message must say."""
    type_ = option.type
    if isinstance(type_, types.Boolean):
        return {"perhaps": "true or false", "2": "true or false"}
    if isinstance(type_, types.Number):
        whole = "a number" if isinstance(type_, types.Float) else "a whole number"
        limits = f"must be {whole} from {type_.min} to {type_.max}"
        values = dict.fromkeys([f"{type_.min - 1}", f"{type_.max + 1}", "many", "1" + 40 * "0"], limits)
        if isinstance(type_, types.Float):
            values["nan"] = limits
        return values if option.default is None or option.section == STORE else {**values, "": limits}
    if isinstance(type_, types.HostAddress):
        return {"a b": "an IP address or a host name"}
    if isinstance(type_, types.String) and type_.choices:
        return {"nothing": f"must be one of {', '.join(type_.choices)}"}
    return {WRONG[option.name]: ""} if option.name in WRONG else {}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [(option, value, says) for option in SUPPORTED_OPTIONS for value, says in wrong(option).items()],
    ids=lambda part: part.title if isinstance(part, Option) else str(part)[:12],
)
def test_an_invalid_value_is_one_problem_with_its_limit(
    tmp_path: Path, option: Option, value: str, says: str
) -> None:
    value = value.format(file=tmp_path / "t.conf")
    problem = only_problem(tmp_path, option, value)  # CFA-205, CFA-207
    assert says in problem
    listed = option.name in ("filesystem_store_datadirs", "filesystem_store_datadir", "enabled_backends")
    listed = listed or option.name in ("s3_store_host", "azure_store_endpoint")  # They may hold credentials.
    assert is_secret(option.name) or listed or f"{option.name} = {value[:20]}" in problem


def test_numbers_have_limits_that_every_part_can_represent() -> None:
    numbers = [option for option in TABLE.options if isinstance(option.type, types.Number)]
    # CFA-207; the default of Glance's image_size_cap is the one beyond
    assert len(numbers) > 20
    assert [each.title for each in numbers if not (each.type.max or 0) <= BIGINT + 1 or each.type.min is None] == []
    assert [each.title for each in numbers if each.type.max is None] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # What a broken option would have decided is not guessed.
        ("auth_strategy = $nothing\nbind_host = 0.0.0.0\n", "auth_strategy"),
        ("bind_host = 0.0.0.0\n[paste_deploy]\nflavor = $nothing\n", "flavor"),
        ("auth_strategy = $nothing\n[cors]\nallowed_origin = *\n", "auth_strategy"),
        ("bind_host = 0.0.0.0\nallow_unauthenticated_listen = perhaps\n", "allow_unauthenticated_listen"),
        ("enabled_backends = a:tape\n", "'tape'"),
        ("enabled_backends = a\nstaging_store = a\n", "'a'"),
        ("[glance_store]\nstores = tape\n", "'tape'"),
        ("enabled_backends = a:file,b:file\n[a]\nfilesystem_store_datadir = $nothing\n"
         "[b]\nfilesystem_store_datadir =\n[backend_defaults]\nweight = 1\n", ""),
    ],
)  # fmt: skip
def test_nothing_untrue_follows_from_an_invalid_value(tmp_path: Path, text: str, says: str) -> None:
    more = "[glance_store]\ndefault_backend = a\n" if "backends" in text else ""
    problems, warnings = found(tmp_path, f"[DEFAULT]\nimage_tag_quota = 1\n{text}{more}")
    about = [each for each in (*problems, *warnings) if says in each]
    assert len(problems) == (1 if says else 2) and about, problems


KEYSTONE = BASES["keystone"]


@pytest.mark.parametrize(
    "text",
    [
        "[glance_store]\nfilesystem_store_datadir = {}\n",
        "[glance_store]\nfilesystem_store_datadirs = {}:1\n",
        f"{KEYSTONE}cafile = {{}}\n",
        "[database]\nconnection = postgresql://h/x?sslrootcert={}\n",
        "[database]\nconnection = postgresql://h/x?service=a&servicefile={}\n",
    ],
)
def test_a_path_that_cannot_be_reached_is_one_problem(tmp_path: Path, text: str) -> None:
    name = 256 * "n"  # The file system refuses it; a directory that may not be searched gives the same kind of error.
    problems, _ = found(tmp_path, "[DEFAULT]\nbind_host = ::1\n" + text.format(f"{tmp_path}/{name}"))
    assert len(problems) == 1 and name[:20] in problems[0], problems  # CFA-205


def test_a_reference_to_itself_is_one_problem(tmp_path: Path) -> None:
    problems, _ = found(tmp_path, "[cors]\nmax_age = ${cors.max_age}\n[DEFAULT]\ndebug = $debug\n")
    assert len(problems) == 2 and all("or to itself" in each for each in problems)  # CFA-205


def test_a_nul_character_in_a_file_is_one_problem(tmp_path: Path) -> None:
    problems, _ = found(tmp_path, "[DEFAULT]\nbind_port = 1\nimage_cache_dir = /x\0y\n")
    assert problems == (f"{tmp_path}/t.conf:3 contains the character NUL; save the file as text without it.",)


def test_stores_with_invalid_directories_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "t.conf"
    file.write_text("[glance_store]\nfilesystem_store_datadir = $nothing\n")
    store = examine([file], [], {}).config.stores.entries[0]
    assert store.options == FileStore(())


def test_a_value_is_shown_as_one_printable_line(tmp_path: Path) -> None:
    problems, _ = found(tmp_path, f"[DEFAULT]\nbind_port = \x1b[31m{'x' * 500}\n  more\n")
    assert "\\x1b[31mxxx" in problems[0] and len(problems[0]) < 500 and problems[0].isprintable()
