"""``ferrotype completion``: completion of commands, options and file names in a shell."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash  eval "$(ferrotype completion bash)"           in ~/.bashrc
    zsh   eval "$(ferrotype completion zsh)"            in ~/.zshrc, after compinit
    fish  ferrotype completion fish | source            in ~/.config/fish/config.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete  # Only this command needs them.

    script = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(script(context.find_root().command, {}, "ferrotype", "_FERROTYPE_COMPLETE").source())
