"""What we use of uvicorn beyond its promises. When this fails, read ``web/protocol.py`` against the new uvicorn."""

import inspect

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import Server, ServerState


def test_uvicorn_is_the_one_that_the_protocol_was_written_for() -> None:
    assert uvicorn.__version__.rsplit(".", 1)[0] == "0.54"


def test_the_protocol_has_what_we_override_and_use() -> None:
    ours = {"on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"}
    ours |= {"connection_made", "connection_lost", "eof_received", "data_received", "shutdown", "pause_writing"}
    ours |= {"resume_writing", "timeout_keep_alive_handler", "_unset_keepalive_if_required", "_start_asgi_task"}
    ours |= {"on_response_complete"}
    assert ours <= set(vars(httptools_impl.HttpToolsProtocol))
    source = inspect.getsource(httptools_impl.HttpToolsProtocol)
    for name in ("parser", "transport", "flow", "cycle", "pipeline", "scope", "headers", "url", "loop", "client"):
        assert f"self.{name}" in source
    for name in ("timeout_keep_alive_task", "timeout_keep_alive", "server_state"):
        assert f"self.{name}" in source


def test_the_exchange_has_the_arguments_and_attributes_we_use() -> None:
    source = inspect.getsource(httptools_impl.RequestResponseCycle)
    arguments = set(inspect.signature(httptools_impl.RequestResponseCycle).parameters)
    assert arguments == {
        "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event",
        "expect_100_continue", "keep_alive", "on_response",
    }  # fmt: skip
    for name in ("disconnected", "waiting_for_100_continue", "more_body", "response_started", "response_complete"):
        assert f"self.{name}" in source
    for name in ("chunked_encoding", "expected_content_length", "keep_alive", "message_event", "on_response"):
        assert f"self.{name}" in source


def test_the_server_has_what_a_worker_uses() -> None:
    assert {"startup", "main_loop"} <= set(vars(Server))
    assert {"connections", "tasks", "default_headers"} <= set(vars(ServerState()))
    assert {"pause_reading", "resume_reading", "drain"} <= set(vars(flow_control.FlowControl))
    assert flow_control.HIGH_WATER_LIMIT == 65536
