"""Fuzzed requests: every one is answered, and never with 500."""

import pytest
from every_route import METHODS, NO_IMAGE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferrotype.testing.client import ADMIN, OWNER, PATCH, READER, SERVICE, STRANGER, client, person

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CALLERS = st.sampled_from([ADMIN, OWNER, READER, SERVICE, STRANGER, person(None), person(None, "member", "reader")])
VERBS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
WORDS = sorted({part for path in METHODS for part in path.split("/") if "{" not in part})
PIECES = st.one_of(
    st.sampled_from([*WORDS, "v2", "v2.7", "v1", "versions", "healthcheck", NO_IMAGE, NO_IMAGE.upper(), "fast", ""]),
    st.sampled_from(["%00", "%ff", "%2F", "..", ".", "%", "%c0%af", "%0a", "%u0041", "{x}", "~", "*", ";a=b"]),
    TEXT.map(lambda text: text.replace("?", "").replace("/", "")),
)
NAMES = [
    "limit", "marker", "sort", "sort_key", "sort_dir", "name", "id", "status", "visibility", "owner", "size_min",
    "size_max", "size", "created_at", "updated_at", "tag", "os_hidden", "member_status", "protected", "prefer",
    "changes-since", "checksum", "os_hash_value", "min_ram", "deleted", "virtual_size",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(["", "0", "-1", "1", "true", "in:", 'in:"', 'in:"a",b', "lt:", "name:asc"]),
    st.sampled_from(
        ["9" * 30, "1e3", "\u0661", "%00", "%ff", "%", "a:b:c", "2020-13-01T00:00:00Z", NO_IMAGE, "+", "&", "="]
    ),
    st.sampled_from(
        [
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "gt:9999-12-31T23:59:59Z",
            "neq:0000",
            "gt:2020-01-01T00:00:00Z",
        ]
    ),
    TEXT,
)
QUERY = st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), TEXT), VALUES), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["accept", "range", "if-range", "if-match", "if-none-match", "content-range", "content-type", "origin",
         "x-openstack-request-id", "x-image-meta-store", "x-openstack-image-size", "x-forwarded-host", "forwarded",
         "access-control-request-method", "access-control-request-headers", "x-roles", "expect", "accept-encoding"]
    ),
    st.one_of(
        st.text(st.characters(max_codepoint=255), max_size=30),
        st.sampled_from(["*/*", "application/json;q=nan", "a;q=", "bytes=0-0", "bytes=-0", "bytes 0-0/1", PATCH, "*",
                         "application/vnd.openstack.images-v2.1", "http://[", "http://127.0.0.1:9292", "fast"]),
    ),
    max_size=4,
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["name", "tags"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with client(tmp_path_factory.mktemp("fuzz")) as api:
        for index in range(3):
            api.image(b"x" * index, caller=OWNER, tags=["t"])
        yield api


def is_an_answer(answer, method):
    assert 200 <= answer.status < 500 or answer.status == 501, answer.text
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    for name, value in answer.headers.items():
        assert not {"\r", "\n", "\0"} & set(name + value)  # SEC-99
    if method == "HEAD" or answer.status in (204, 304):
        assert answer.body == b""
    else:
        assert int(answer.headers["content-length"]) == len(answer.body)
    if answer.body:
        assert "content-type" in answer.headers  # ERR-11, CL-04


many = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@many
@given(VERBS, st.lists(PIECES, max_size=6), QUERY, HEADERS, CALLERS, st.sampled_from([None, b"", b"{}", b"x", []]))
def test_any_path_query_and_header_is_answered(api, method, pieces, query, headers, caller, body):
    path = "/" + "/".join(pieces) + (f"?{query}" if query else "")
    is_an_answer(api.request(method, path, headers=headers, caller=caller, body=body), method)


@many
@given(QUERY, CALLERS)
def test_any_query_of_a_list_is_answered(api, query, caller):
    is_an_answer(api.get(f"/v2/images?{query}", caller=caller), "GET")


@many
@given(
    st.sampled_from([path for path in METHODS if "POST" in METHODS[path] or "PUT" in METHODS[path]]), JSON, CALLERS
)
def test_any_document_is_answered(api, path, document, caller):
    method = "POST" if "POST" in METHODS[path] else "PUT"
    target = "/v2/" + path.format(image_id=NO_IMAGE, tag="t", member_id="p9", store_id="fast")
    is_an_answer(api.request(method, target, json=document, caller=caller), method)


OPERATION = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "replace", "remove", "move", 1, None]),
        "path": st.one_of(
            st.sampled_from(
                ["/name", "/tags", "/tags/-", "/locations", "/locations/0", "/locations/-", "/id", "/x/y", "/"]
            ),
            st.sampled_from(
                ["/visibility", "/min_ram", "/owner", "/~", "/~0", "/protected", "//name", "/os_glance_x", ""]
            ),
            TEXT,
        ),
        "value": JSON,
    },
)


@many
@given(st.lists(OPERATION | JSON, max_size=3), CALLERS)
def test_any_patch_is_answered(api, operations, caller):
    image_id = api.get("/v2/images?limit=1", caller=ADMIN).json["images"]
    target = image_id[0]["self"] if image_id else f"/v2/images/{NO_IMAGE}"
    is_an_answer(api.patch(target, operations, caller=caller), "PATCH")
