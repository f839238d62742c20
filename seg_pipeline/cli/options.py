"""The options that commands share, and the settings that they make."""

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
    """Examples as they are written, and what an option does beside its name."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def add_command(
    commands: Commands,
    name: str,
    work: Callable[[argparse.Namespace], int],
    *,
    help: str,
    epilog: str,
    parents: Sequence[argparse.ArgumentParser] = (),
) -> argparse.ArgumentParser:
    """A command with its help; `work` gets the options and returns the exit status."""
    command = commands.add_parser(
        name,
        parents=list(parents),
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=epilog,
        formatter_class=Help,
    )
    command.set_defaults(command=work)
    return command


def settings_options(*, config: bool = True) -> argparse.ArgumentParser:
    """--preset, --config and --set, which every command takes that reads settings."""
    shared, group = _group("settings")
    group.add_argument(
        "--preset", metavar="NAME", help="a preset (generic, online_retail, cdnow) or the path of a preset file"
    )
    if config:
        group.add_argument("--config", metavar="FILE", type=Path, help="settings file (TOML)")
    group.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override a setting; may be given again"
    )
    return shared


def warehouse_option() -> argparse.ArgumentParser:
    """--warehouse."""
    shared, group = _group("places")
    group.add_argument("--warehouse", metavar="FILE", help="the DuckDB file; default: warehouse.duckdb")
    return shared


def places_options() -> argparse.ArgumentParser:
    """--warehouse and --output."""
    shared, group = _group("places")
    group.add_argument("--warehouse", metavar="FILE", help="the DuckDB file; default: warehouse.duckdb")
    group.add_argument("--output", metavar="DIR", help="folder of the published files; default: published")
    return shared


def shown_options(*, loudness: bool = False, as_json: bool = True) -> argparse.ArgumentParser:
    """--json and, where something goes on for a while, --quiet and --verbose."""
    shared, group = _group("what is shown")
    if as_json:
        group.add_argument(
            "--json", action="store_true", help="one JSON document on stdout; progress and warnings go to stderr"
        )
    if loudness:
        volume = group.add_mutually_exclusive_group()
        volume.add_argument("--quiet", action="store_true", help="show warnings and errors alone")
        volume.add_argument("--verbose", action="store_true", help="show every step with its time as it ends")
    return shared


def overrides(options: argparse.Namespace) -> list[str]:
    """The options that have a setting, as overrides; --set beats them, as the more explicit."""
    source = getattr(options, "source", None)
    named = {
        "source.path": json.dumps(source) if source else None,
        "source.preset": options.preset,
        "as_of": getattr(options, "as_of", None),
        "warehouse.path": getattr(options, "warehouse", None),
        "output.path": getattr(options, "output", None),
    }
    given = [f"{key}={value}" for key, value in named.items() if value is not None]
    return [*given, *options.set]


def settings_of(options: argparse.Namespace) -> "Settings":
    """Loads the settings that the options name, so that a wrong one is reported before anything heavy is imported."""
    from seg_pipeline.settings import load_settings

    return load_settings(overrides(options), config=options.config)


def date(text: str) -> datetime.date:
    """A date of the command line."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date like 2011-12-10") from None


def _group(title: str) -> tuple[argparse.ArgumentParser, argparse._ArgumentGroup]:
    shared = argparse.ArgumentParser(add_help=False)
    return shared, shared.add_argument_group(title)
