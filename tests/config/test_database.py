"""The URL of a PostgreSQL database, whatever characters its password contains."""

from pathlib import Path

import pytest

from ferrotype.config import ConfigError
from ferrotype.config.database import masked
from ferrotype.config.read import read


def configured(directory: Path, url: str) -> str:
    """Return the URL that a file with this one leads to."""
    file = directory / "t.conf"
    file.write_text(f"[database]\nconnection = {url}\n")
    return read([file], [], {}).database.url


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("u:pa#ss@h/x", "u:pa%23ss@h/x"),
        ("u:pa/s?s[1]@h/x?sslmode=require", "u:pa%2Fs%3Fs%5B1%5D@h/x?sslmode=require"),
        ("u:p@ss:w@h:5433/x", "u:p%40ss%3Aw@h:5433/x"),
        ("u%40d:p%40s@h/x", "u%40d:p%40s@h/x"),
        ("u@d:p@h/x", "u%40d:p@h/x"),
        ("u:p@h/x?krbsrvname=a@b", "u:p@h/x?krbsrvname=a@b"),
        ("u:@[::1]:5432/x", "u@[::1]:5432/x"),
        ("u@h1:1,h2:2/x", "u@h1:1,h2:2/x"),
        ("h/x", "h/x"),
        ("/x?host=/run/postgresql", "/x?host=/run/postgresql"),
    ],
)
def test_characters_of_a_password_mean_what_they_do_for_glance(tmp_path: Path, written: str, understood: str) -> None:
    assert configured(tmp_path, f"postgresql+psycopg2://{written}") == f"postgresql://{understood}"


@pytest.mark.parametrize("where", ["u:hunter2@h:port/x", "u:hunter2@[::1/x", "u:hunter2@h#y", "u@d:hunter2@h:x/y"])
def test_an_invalid_url_is_rejected_without_showing_the_password(tmp_path: Path, where: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(tmp_path, f"postgresql://{where}")
    assert "postgresql://user:password@host:port/name" in str(refused.value.problems)
    assert "hunter2" not in str(refused.value.problems)
    assert "hunter2" not in masked(f"postgresql://{where}")
