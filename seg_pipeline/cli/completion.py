"""`seg-pipeline completion`: prints a script that completes commands, options and paths in a shell."""

import argparse

from seg_pipeline.cli.options import Commands, add_command

SHELLS = ("bash", "zsh", "fish")

EPILOG = """\
for every new shell, once:
  bash   seg-pipeline completion bash > ~/.local/share/bash-completion/completions/seg-pipeline
  zsh    seg-pipeline completion zsh > "${fpath[1]}/_seg-pipeline"
  fish   seg-pipeline completion fish > ~/.config/fish/completions/seg-pipeline.fish

for this shell only:
  eval "$(seg-pipeline completion bash)"
"""
FILE_METAVARS = ("FILE", "PATH", "SOURCE")


def add(commands: Commands) -> None:
    """Registers `seg-pipeline completion` and its arguments."""
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

    top = options.top
    for command in _commands(top):
        for action in command._actions:
            if action.metavar in FILE_METAVARS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks
            elif action.metavar == "DIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.dest == "preset":
                action.choices = preset_names()
    print(shtab.complete(top, options.shell))
    return 0


def _commands(top: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Returns the parsers of the commands."""
    return [
        command
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
        for command in action.choices.values()
    ]
