"""The format of errors: chosen by Accept, escaped in HTML."""

import pytest

from ferrotype.web.errors import error_response
from ferrotype.web.http import Request

PLAIN, PAGE, DOCUMENT = "text/plain; charset=UTF-8", "text/html; charset=UTF-8", "application/json"


def refused(accept, text="No such thing.", status=404):
    headers = {} if accept is None else {"accept": accept}
    scope = {"method": "GET", "headers": []}
    response = error_response(Request(None, scope, None, headers, "req-1"), status, text)
    return dict(response.headers)["content-type"], response.body.decode(), response


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        # ERR-02
        (None, PLAIN), ("", PLAIN), (" ", PLAIN), (",", PLAIN), ("text/plain", PLAIN), ("application/xml", PLAIN),
        ("application/vnd.openstack.images-v2.7", PLAIN), ("image/*", PLAIN),
        # ERR-03
        ("*/*", PAGE), ("text/html", PAGE), ("text/*", PAGE), ("TEXT/HTML", PAGE), ("nonsense", PAGE),
        ("a/b/c", PAGE),
        ("application/json, text/plain, */*", PAGE), ("text/html;q=x", PAGE), ("/", PAGE), (";q=1", PAGE),
        # ERR-04
        ("application/json", DOCUMENT), ("application/*", DOCUMENT), ("application/json;charset=utf-8", DOCUMENT),
        ("Application/JSON", DOCUMENT), ("application/json, text/plain", DOCUMENT),
        # ERR-01: html where it is wanted as much as json
        ("application/json, text/html", PAGE), ("text/html;q=0.5, application/json;q=0.5", PAGE),
        ("text/html;q=0.4, application/json;q=0.5", DOCUMENT), ("*/*;q=0.5, application/json", DOCUMENT),
        ("text/html;q=0, application/json", DOCUMENT), ("text/html;q=0, */*", DOCUMENT),
        ("*/*;q=0", PLAIN), ("application/json;q=0", PLAIN), ("*/*, application/json;q=0", PAGE),
        ("application/json;q=1.0, */*;q=0.1", DOCUMENT),
    ],
)  # fmt: skip
def test_the_accept_header_chooses_the_form(accept, kind):
    assert refused(accept)[0] == kind


def test_json_errors_are_flat():
    _, body, _ = refused("application/json", "No <b> & 'c'.")
    # ERR-05, CL-02, CL-05
    assert body == '{"message":"No <b> & \'c\'.","code":"404 Not Found","title":"Not Found"}'


def test_plain_text_has_the_status_in_its_first_line():
    _, body, _ = refused(None, "No <b> & 'c'.")
    assert body == "404 Not Found\n\nNo <b> & 'c'.\n"  # ERR-07, CL-05


def test_an_html_error_escapes_its_text():
    _, body, _ = refused("*/*", "No <script>alert('x')</script> & co.")
    # ERR-06, ERR-08, SEC-103
    assert "<title>404 Not Found</title>" in body and "<h1>404 Not Found</h1>" in body
    assert "&lt;script&gt;alert('x')&lt;/script&gt; &amp; co." in body and "<script" not in body


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_the_content_type_matches_the_form(accept):
    headers = dict(refused(accept)[2].headers)
    assert headers["x-content-type-options"] == "nosniff"  # RUL-14
    assert headers["content-type"].lower() in {  # ERR-10
        base + tail for base in ("application/json", "text/plain", "text/html") for tail in ("", "; charset=utf-8")
    }


@pytest.mark.parametrize(
    ("status", "title"),
    [(413, "413 Request Entity Too Large"), (416, "416 Request Range Not Satisfiable"), (409, "409 Conflict")],
)
def test_titles_are_glances_reason_phrases(status, title):
    assert refused(None, "x", status)[1].startswith(f"{title}\n\n")
