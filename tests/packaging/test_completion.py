"""Shell completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import run
from needs import need

from ferrotype import cli

FERROTYPE = Path(sys.executable).with_name("ferrotype")
#: What a user typed, as each shell passes it on: all words in bash and zsh; in fish the last one by itself.
TYPED = {"bash": "1", "zsh": "1", "fish": ""}


@pytest.mark.parametrize("shell", TYPED)
def test_completion_prints_the_subcommands(shell: str) -> None:
    words = {"COMP_WORDS": "ferrotype ", "COMP_CWORD": TYPED[shell], "_FERROTYPE_COMPLETE": f"{shell}_complete"}
    printed = run([FERROTYPE], env=os.environ | words)
    assert {command for command in cli.main.commands if command in printed} == set(cli.main.commands)


@pytest.mark.parametrize("shell", TYPED)
def test_completion_command_prints_a_script_that_asks_for_the_shell(shell: str) -> None:
    printed = run([FERROTYPE, "completion", shell])
    assert f"_FERROTYPE_COMPLETE={shell}_complete" in printed


@pytest.mark.slow
def test_bash_completes_commands_options_and_subcommands() -> None:
    need("bash")
    script = """
        eval "$(ferrotype completion bash)"
        complete -p ferrotype
        typed() {
            COMP_WORDS=(ferrotype "$@"); COMP_CWORD=$#; COMPREPLY=()
            _ferrotype_completion ferrotype
            echo "${COMPREPLY[*]}"
        }
        typed to
        typed db ""
        typed serve --wor
        typed completion f
    """
    path = {"PATH": f"{FERROTYPE.parent}:{os.environ['PATH']}"}
    printed = run(["bash", "--norc", "-c", script], env=os.environ | path)
    assert printed.splitlines()[1:] == ["token", "sync version", "--workers", "fish"]


def test_other_commands_do_not_import_what_completion_needs() -> None:
    code = "import sys, ferrotype.cli; sys.exit('click.shell_completion' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
