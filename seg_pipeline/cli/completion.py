"""`seg-pipeline completion`: a script that completes commands, options and paths in a shell."""

import argparse

from seg_pipeline.cli.options import Commands, add_command

SHELLS = ("bash", "zsh", "fish")

EPILOG = """\
once, and it is there in every new shell:
  bash   seg-pipeline completion bash > ~/.local/share/bash-completion/completions/seg-pipeline
  zsh    seg-pipeline completion zsh > "${fpath[1]}/_seg-pipeline"
  fish   seg-pipeline completion fish > ~/.config/fish/completions/seg-pipeline.fish

in this shell alone:
  eval "$(seg-pipeline completion bash)"
"""
FILES = ("FILE", "PATH", "SOURCE")


def add(commands: Commands) -> None:
    """Adds the command."""
    completion = add_command(
        commands,
        "completion",
        _completion,
        help="print a script that completes commands, options and paths in a shell",
        epilog=EPILOG,
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell")


def _completion(options: argparse.Namespace) -> int:
    import shtab

    from seg_pipeline.settings import preset_names

    top = options.parser
    for command in _commands(top):
        for action in command._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # how shtab is told
            elif action.metavar == "DIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.dest == "preset":
                action.choices = preset_names()
    print(shtab.complete(top, options.shell))
    return 0


def _commands(top: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        command
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
        for command in action.choices.values()
    ]
