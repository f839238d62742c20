"""The options that commands share, and the settings that options name."""

import argparse
import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from seg_pipeline.settings import Settings

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Help(argparse.RawDescriptionHelpFormatter):
    """Prints examples as they are written, and the help of an option beside its name."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def add_argument(self, action: argparse.Action) -> None:
        """Adds an argument; argparse forgets that commands are indented, and would break the longest ones' lines."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


def add_command(
    commands: Commands,
    name: str,
    work: Callable[[argparse.Namespace], int],
    *,
    help: str,
    epilog: str,
    parents: Sequence[argparse.ArgumentParser] = (),
) -> argparse.ArgumentParser:
    """Adds a command.

    Args:
        commands: Where to add it.
        name: Its name.
        work: Does what the command is for; takes the options and returns the exit status.
        help: One line of help.
        epilog: Examples, and what else the user has to know.
        parents: Parsers of the options that it shares with other commands.

    Returns:
        The parser of the command.
    """
    command = commands.add_parser(
        name,
        parents=list(parents),
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=epilog,
        formatter_class=Help,
    )
    command.set_defaults(command=work, parser=command)
    return command


def settings_options(*, config: bool = True) -> argparse.ArgumentParser:
    """Returns a parser of --preset, --config (if `config`) and --set, for commands that load settings."""
    shared, group = _group("settings")
    group.add_argument("--preset", metavar="NAME", help="a preset, such as online_retail, or the path of a preset file")
    if config:
        group.add_argument("--config", metavar="FILE", type=Path, help="a settings file (TOML)")
    group.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override a setting; can be repeated"
    )
    return shared


def warehouse_option() -> argparse.ArgumentParser:
    """Returns a parser of --warehouse."""
    return _path_group()[0]


def path_options() -> argparse.ArgumentParser:
    """Returns a parser of --warehouse and --output."""
    shared, group = _path_group()
    group.add_argument("--output", metavar="DIR", help="the folder of the published files; default: published")
    return shared


def output_options(*, verbosity: bool = False, as_json: bool = True) -> argparse.ArgumentParser:
    """Returns a parser of --json (if `as_json`), and of --quiet and --verbose (if `verbosity`)."""
    shared, group = _group("output")
    if as_json:
        group.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout; progress and warnings go to stderr"
        )
    if verbosity:
        exclusive = group.add_mutually_exclusive_group()
        exclusive.add_argument("--quiet", action="store_true", help="show only warnings and errors")
        exclusive.add_argument("--verbose", action="store_true", help="show each step and its time as it ends")
    return shared


def overrides(options: argparse.Namespace) -> list[str]:
    """Returns the options that stand for a setting as `KEY=VALUE`, followed by --set, which beats them."""
    source = getattr(options, "source", None)
    named = {
        "source.path": json.dumps(source) if source else None,
        "source.preset": options.preset,
        "as_of": getattr(options, "as_of", None),
        "warehouse.path": getattr(options, "warehouse", None),
        "output.path": getattr(options, "output", None),
    }
    return [*(f"{key}={value}" for key, value in named.items() if value is not None), *options.set]


def load_settings_from(options: argparse.Namespace) -> "Settings":
    """Returns the settings that the options name.

    Commands load them before their heavy imports, so that a wrong setting is reported at once.

    Raises:
        UsageError: A setting is wrong.
    """
    from seg_pipeline.settings import load_settings

    return load_settings(overrides(options), config=options.config)


def date(text: str) -> datetime.date:
    """Returns the date that an argument names."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2011-12-10") from None


def _path_group() -> tuple[argparse.ArgumentParser, argparse._ArgumentGroup]:
    shared, group = _group("paths")
    group.add_argument("--warehouse", metavar="FILE", help="the DuckDB file; default: warehouse.duckdb")
    return shared, group


def _group(title: str) -> tuple[argparse.ArgumentParser, argparse._ArgumentGroup]:
    shared = argparse.ArgumentParser(add_help=False)
    return shared, shared.add_argument_group(title)
