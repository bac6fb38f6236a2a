"""Every connection parameter of libpq in a connection URL: translated, ignored with a warning, or refused by name."""

import asyncio
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from needs import need
from sqlalchemy import text

from ferrotype.config import Config, ConfigError
from ferrotype.config.check import report
from ferrotype.config.libpq import IGNORED, PARAMETERS, REFUSED, TRANSLATED
from ferrotype.config.read import examine, read
from ferrotype.config.reference import connection_parameters
from ferrotype.db.backends.connect import connect
from ferrotype.db.backends.postgresql import migrate
from ferrotype.db.engine import Statement
from ferrotype.testing.postgres import Server, postgres

HERE = Path(__file__).parent
#: The names in "Parameter Key Words" of the documentation of PostgreSQL 13 to 18.
DOCUMENTED = {
    "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "require_auth", "channel_binding",
    "connect_timeout", "client_encoding", "options", "application_name", "fallback_application_name", "keepalives",
    "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "replication", "gssencmode",
    "sslmode", "requiressl", "sslnegotiation", "sslcompression", "sslcert", "sslkey", "sslkeylogfile", "sslpassword",
    "sslcertmode", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "requirepeer", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "min_protocol_version", "max_protocol_version", "krbsrvname", "gsslib",
    "gssdelegation", "scram_client_key", "scram_server_key", "service", "servicefile", "target_session_attrs",
    "load_balance_hosts", "oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope", "authtype", "tty",
}  # fmt: skip


def configured(directory: Path, url: str, more: str = "") -> Config:
    file = directory / "t.conf"
    file.write_text(f"[database]\nconnection = {url}\n{more}")
    return read([file], [], {})


def problem(directory: Path, url: str, more: str = "") -> str:
    """Return the only thing that is wrong with the URL."""
    with pytest.raises(ConfigError) as refused:
        configured(directory, url, more)
    (only,) = refused.value.problems
    return only


def warnings(config: Config) -> list[str]:
    return [each for each in config.warnings if "[database] connection" in each]


def asked(config: Config, statement: str) -> Any:
    """Return what the server says to a service with this configuration."""

    async def ask() -> Any:
        db = await connect(config.database)
        try:
            return (await db.row(Statement(text(statement))) or [None])[0]
        finally:
            await db.close()

    return asyncio.run(ask())


def issue(directory: Path) -> None:
    """Write ``ca.crt`` and the certificate of a server on this machine, ``server.crt`` and ``server.key``."""
    now, keys = datetime.now(UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("test CA", "localhost")]
    for index, file in enumerate(("ca", "server")):
        builder = x509.CertificateBuilder(
            names[0], names[index], keys[index].public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        builder = builder.add_extension(x509.BasicConstraints(index == 0, None), critical=True)
        places = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        certificate = builder.add_extension(x509.SubjectAlternativeName(places), critical=False).sign(
            keys[0], hashes.SHA256()
        )
        (directory / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key = keys[1].private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (directory / "server.key").write_bytes(key)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this module's own, with TLS."""
    need("postgresql")
    with postgres() as server:
        issue(server.directory)
        key, data = server.directory / "server.key", (server.directory / "data").stat()
        key.chmod(0o600)
        os.chown(key, data.st_uid, data.st_gid)

        async def switch() -> None:
            connection = await asyncpg.connect(server.url("postgres"))
            for name, value in (
                ("ssl_cert_file", server.directory / "server.crt"),
                ("ssl_key_file", key),
                ("ssl_ca_file", server.directory / "ca.crt"),
                ("ssl", "on"),
            ):
                await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            await connection.execute("SELECT pg_reload_conf()")
            while not await connection.fetchval("SELECT current_setting('ssl') = 'on'"):
                await connection.close()
                connection = await asyncpg.connect(server.url("postgres"))
            await connection.close()

        asyncio.run(switch())
        yield server


def test_the_table_has_every_parameter_of_libpq():
    assert set(PARAMETERS) == DOCUMENTED


def test_every_parameter_without_full_effect_has_a_reason():
    assert all(each.reason for each in PARAMETERS.values() if each.effect != TRANSLATED or each.refused)


#: A value of every parameter, and what the server says then to a question.
TRANSLATED_VALUES = {
    "host": ("{directory}", "SELECT inet_client_addr() IS NULL", True),
    "hostaddr": ("127.0.0.1", "SELECT host(inet_server_addr())", "127.0.0.1"),
    "port": ("{port}", "SELECT inet_server_port()::text", "{port}"),
    "dbname": ("template1", "SELECT current_database()", "template1"),
    "user": ("ferrotype", "SELECT current_user", "ferrotype"),
    "password": ("any", "SELECT 1", 1),
    "passfile": ("{directory}/passwords", "SELECT 1", 1),
    "service": ("here", "SELECT current_setting('application_name')", "from the service"),
    "servicefile": ("{directory}/services&service=here", "SELECT 1", 1),
    "connect_timeout": ("30", "SELECT 1", 1),
    "options": ("-c%20search_path%3Delsewhere", "SELECT current_setting('search_path')", "elsewhere"),
    "application_name": ("mine", "SELECT current_setting('application_name')", "mine"),
    "fallback_application_name": ("mine", "SELECT current_setting('application_name')", "mine"),
    "target_session_attrs": ("read-write", "SELECT 1", 1),
    "sslmode": ("require", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", True),
    "requiressl": ("1", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", True),
    "sslnegotiation": ("postgres", "SELECT 1", 1),
    "sslcert": ("{directory}/server.crt&sslkey={directory}/server.key&sslmode=require",
                "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "/CN=localhost"),
    "sslkey": ("{directory}/server.key", "SELECT 1", 1),
    "sslpassword": ("hunter2", "SELECT 1", 1),
    "sslrootcert": ("{directory}/ca.crt&sslmode=verify-full", "SELECT 1", 1),
    "sslcrl": ("{directory}/ca.crt", "SELECT 1", 1),
    "ssl_min_protocol_version": ("TLSv1.3&sslmode=require",
                                 "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1.2&sslmode=require",
                                 "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "TLSv1.2"),
    "krbsrvname": ("postgres", "SELECT 1", 1),
}  # fmt: skip
IGNORED_VALUES = {
    "client_encoding": "latin1", "keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "5",
    "keepalives_count": "3", "tcp_user_timeout": "9000", "load_balance_hosts": "random", "gssencmode": "prefer",
    "channel_binding": "prefer", "gsslib": "gssapi", "gssdelegation": "1", "sslcompression": "1", "sslsni": "0",
    "sslkeylogfile": "/tmp/k", "max_protocol_version": "3.2", "authtype": "x", "tty": "x",
}  # fmt: skip
REFUSED_VALUES = {
    "require_auth": "scram-sha-256", "requirepeer": "postgres", "sslcertmode": "require", "sslcrldir": "/etc",
    "min_protocol_version": "3.2", "replication": "database", "scram_client_key": "hunter2",
    "scram_server_key": "hunter2", "oauth_issuer": "https://i", "oauth_client_id": "c",
    "oauth_client_secret": "hunter2", "oauth_scope": "s", "gssencmode": "require", "channel_binding": "require",
    "target_session_attrs": "read-only",
}  # fmt: skip


def test_the_sweeps_have_every_parameter():
    for effect, values in ((TRANSLATED, TRANSLATED_VALUES), (IGNORED, IGNORED_VALUES), (REFUSED, REFUSED_VALUES)):
        assert {name for name, each in PARAMETERS.items() if each.effect == effect} <= set(values)


@pytest.mark.parametrize("name", TRANSLATED_VALUES)
def test_a_translated_parameter_has_its_effect(server: Server, tmp_path: Path, monkeypatch, name: str) -> None:
    value, question, answer = (
        str(each).format(directory=server.directory, port=server.port) if isinstance(each, str) else each
        for each in TRANSLATED_VALUES[name]
    )
    (server.directory / "services").write_text("[here]\napplication_name = from the service\n")
    (server.directory / "passwords").touch(mode=0o600)
    if name == "service":
        monkeypatch.setenv("PGSERVICEFILE", str(server.directory / "services"))
    config = configured(tmp_path, f"postgresql+psycopg2://ferrotype@127.0.0.1:{server.port}/postgres?{name}={value}")
    assert asked(config, question) == answer  # CFA-200
    assert [each for each in warnings(config) if name in each] == []


@pytest.mark.parametrize("name", IGNORED_VALUES)
def test_an_ignored_parameter_has_a_warning(server: Server, tmp_path: Path, name: str) -> None:
    config = configured(tmp_path, f"{server.url('postgres')}?{name}={IGNORED_VALUES[name]}")
    (warning,) = warnings(config)
    assert f"{name}={IGNORED_VALUES[name]} has no effect: " in warning  # CFA-201
    assert asked(config, "SELECT 1") == 1
    for neutral in PARAMETERS[name].neutral:
        assert warnings(configured(tmp_path, f"postgresql://h/x?{name}={neutral}")) == []


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_a_refused_parameter_stops_the_start_and_is_named(tmp_path: Path, name: str) -> None:
    found = problem(tmp_path, f"postgresql://h/x?{name}={REFUSED_VALUES[name]}")
    shown = "***" if REFUSED_VALUES[name] == "hunter2" else REFUSED_VALUES[name]
    assert f"has {name}={shown}, which cannot be honoured: " in found and "hunter2" not in found  # CFA-202
    for neutral in PARAMETERS[name].neutral:
        configured(tmp_path, f"postgresql://h/x?{name}={neutral}")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("sslmod=require", "did you mean sslmode?"),
        ("work_mem=1", "options=-c%20name=value"),
        ("sslmode=required", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("channel_binding=on", "channel_binding must be one of disable, prefer, require"),
        ("connect_timeout=soon", "a whole number of seconds"),
        ("sslrootcert=/nowhere/ca.crt", "sslrootcert=/nowhere/ca.crt, which is not a file"),
        ("sslrootcert=system&sslmode=require", "use sslmode=verify-full"),
        ("sslrootcert=system&ssl_min_protocol_version=TLSv1.3", "cannot combine"),
        ("hostaddr=127.0.0.1&sslmode=verify-full", "remove hostaddr"),
        ("hostaddr=db1", "not an IP address"),
        ("hostaddr=127.0.0.1,127.0.0.2", "1 hosts and 2 addresses"),
        ("host=a,b&port=1,2,3", "2 hosts and 3 ports"),
        ("host=a,,b", "empty host"),
        ("port=0", "the port 0"),
        ("port=x", "the port x"),
        ("host=a:1&host=[::1", "the host '[::1'"),
        ("service=nothing", "the service 'nothing'"),
    ],
)
def test_an_impossible_parameter_is_one_problem(tmp_path: Path, parameters: str, says: str) -> None:
    assert says in problem(tmp_path, f"postgresql://u:hunter2@h/x?{parameters}")
    assert "hunter2" not in problem(tmp_path, f"postgresql://u:hunter2@h/x?{parameters}")


@pytest.mark.parametrize(
    ("written", "url", "hosts"),
    [
        # SQLAlchemy's forms, and those of libpq
        ("u:p@/x?host=a:1&host=b&host=c:3", "u:p@a:1,b,c:3/x", (("a", 1), ("b", None), ("c", 3))),
        ("u@/x?host=a:1", "u@a:1/x", ()),
        ("u@/x?host=a,b&port=1,2", "u@a:1,b:2/x", (("a", 1), ("b", 2))),
        ("u@/x?host=a,b&port=1", "u@a:1,b:1/x", (("a", 1), ("b", 1))),
        ("u@h1:1,[::1]:2/x", "u@h1:1,[::1]:2/x", (("h1", 1), ("::1", 2))),
        ("u@/x?host=::1", "u@[::1]/x", ()),
        # Parameters win over the parts before them
        ("u:p@h:5/x?host=/run/postgresql", "u:p@/x?host=/run/postgresql&port=5", ()),
        ("u:p@h:5/x?user=v&password=q&dbname=y&port=6", "v:q@h:6/y", ()),
        ("u@h/x?database=y", "u@h/y", ()),
        ("%2Frun%2Fpostgresql/x", "/x?host=/run/postgresql", ()),
        ("u@/x", "u@/x", ()),
        ("u@:7/x", "u@/x?port=7", ()),
        ("/x?host=/run,h&port=1,2", "/x?host=/run,h&port=1,2", (("/run", 1), ("h", 2))),
        ("h/a%20b", "h/a%20b", ()),
        ("h/x?options=-c+search_path%3Da%20-c%20b=c", "h/x?options=-c%20search_path%3Da%20-c%20b%3Dc", ()),
        ("h/x?sslmode=&application_name=", "h/x", ()),
        ("h/x?target_session_attrs=prefer-standby", "h/x?target_session_attrs=primary", ()),
    ],
)
def test_forms_of_urls(tmp_path: Path, written: str, url: str, hosts: tuple[Any, ...]) -> None:
    database = configured(tmp_path, f"postgresql+psycopg2://{written}").database
    assert (database.url, database.hosts) == (f"postgresql://{url}", hosts)


def test_parameters_may_stand_in_an_option_of_their_own(tmp_path: Path) -> None:
    more = "connection_parameters = sslmode=require&connect_timeout=3\n"
    database = configured(tmp_path, "postgresql://h/x?application_name=mine", more).database
    assert (database.url, database.connect_timeout) == ("postgresql://h/x?sslmode=require", 3)
    assert database.application_name == "mine"
    assert "channel_binding" in problem(tmp_path, "postgresql://h/x", "connection_parameters=channel_binding=require")


def test_variables_of_the_environment_are_not_overlooked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "mine")
    monkeypatch.setenv("PGCHANNELBINDING", "require")
    assert "channel_binding=require" in problem(tmp_path, "postgresql://h/x")  # CFA-204
    assert configured(tmp_path, "postgresql://h/x?channel_binding=disable").database.application_name == "mine"


def test_a_service_gives_what_the_url_does_not(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "services"
    file.write_text("[a]\nhost=h\ndbname=x\nuser=u\npassword=p%\nsslmode=require\nport=6\n[b]\nrequirepeer=u\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    url = configured(tmp_path, "postgresql:///?service=a&dbname=y").database.url
    assert url == "postgresql://u:p%25@h:6/y?sslmode=require"  # CFA-204
    assert "requirepeer" in problem(tmp_path, "postgresql:///?service=b")
    assert "service 'c'" in problem(tmp_path, f"postgresql:///?service=c&servicefile={file}")


@pytest.mark.parametrize("first", [True, False])
def test_a_host_that_answers_nothing_does_not_use_up_the_time_of_the_next(
    server: Server, tmp_path: Path, first: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hosts = ",".join(f"127.0.0.1:{each}" for each in ((port, server.port) if first else (server.port, port)))
        config = configured(tmp_path, f"postgresql://ferrotype@{hosts}/postgres?connect_timeout=1&sslmode=disable")
        begun = time.monotonic()
        assert asked(config, "SELECT inet_server_port()") == server.port  # CFA-203
        assert time.monotonic() - begun < 8


def test_of_several_hosts_one_that_may_be_written_is_chosen(server: Server, tmp_path: Path) -> None:
    with postgres() as standby:

        async def make_read_only() -> None:
            connection = await asyncpg.connect(standby.url("postgres"))
            await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await connection.execute("SELECT pg_reload_conf()")
            await connection.close()

        asyncio.run(make_read_only())
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{server.port}"
        config = configured(tmp_path, f"postgresql://ferrotype@{hosts}/postgres?target_session_attrs=read-write")
        assert asked(config, "SELECT inet_server_port()") == server.port  # CFA-203


def test_a_certificate_that_is_not_of_the_system_is_refused(server: Server, tmp_path: Path) -> None:
    url = f"postgresql://ferrotype@localhost:{server.port}/postgres?sslrootcert=system"
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        asked(configured(tmp_path, url), "SELECT 1")


def test_a_migration_connects_like_the_service(server: Server, tmp_path: Path) -> None:
    url = f"{server.url('postgres')}?sslmode=require&application_name=mine&keepalives=1"
    found: list[Any] = []
    question = (
        "SELECT ssl, application_name FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE pid = pg_backend_pid()"
    )
    migrate(configured(tmp_path, url).database, lambda connection: found.extend(connection.exec_driver_sql(question)))
    assert [tuple(row) for row in found] == [(True, "mine")]


def test_secrets_in_parameters_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "t.conf"
    file.write_text("[database]\nconnection = postgresql://h/x?sslpassword=hunter2&user=u&password=hunter2\n")
    found = report([file], [], lambda config: [])
    assert "hunter2" not in "\n".join(found.lines())
    assert "postgresql://u:***@h/x?sslpassword=***" in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("parameters", "says"), [("mode=ro&uri=true", "mode=ro"), ("vfs=x", "vfs=x"), ("sslmode=require", "sslmode")]
)
def test_parameters_that_mean_something_else_for_sqlite_are_refused(tmp_path: Path, parameters, says) -> None:
    assert says in problem(tmp_path, f"sqlite:////srv/x?{parameters}")
    config = configured(tmp_path, "sqlite:////srv/x?timeout=30&check_same_thread=false")
    assert len(warnings(config)) == 2 and config.database.path == Path("/srv/x")


def test_the_documentation_has_the_table():
    document = (HERE.parents[1] / "docs" / "reference" / "connection-parameters.md").read_text()
    assert connection_parameters() in document


def test_a_problem_with_a_value_is_the_only_one(tmp_path: Path) -> None:
    file = tmp_path / "t.conf"
    file.write_text("[database]\nconnection = postgresql://u:$hunter2@h/g\n")
    found = examine([file], [], {})
    assert len(found.problems) == 1 and not re.search("is not set", "".join(found.warnings))  # CFA-205
