"""Finds the columns of raw_orders among the columns of a file, by the names in the preset or in the settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg_pipeline.errors import DataError, UsageError, nearest

# Limits that keep an error line readable; the longest list of names in a preset fits.
NAMES_SHOWN = 40
NAME_WIDTH = 60
ORDER_COLUMNS = (
    "order_id",
    "customer_id",
    "ordered_at",
    "product_id",
    "quantity",
    "unit_price",
    "amount",
    "country",
    "description",
    "currency",
    "shop",
)

# SQL: a delivered customer id as in clean_orders, without surrounding blanks. A spreadsheet's 17850.0 becomes 17850.
# parsed_lines.sql does the same in single steps, since most ids need none of them.
CUSTOMER_TEXT = r"regexp_replace(trim(customer_id, $blanks), $spreadsheet_id, '\1')"
# The parameters of CUSTOMER_TEXT.
CUSTOMER_ID = {"blanks": " \t\r\n\v\f\u00a0\u3000\ufeff", "spreadsheet_id": r"^([0-9]+)\.0+\z"}

ID_COLUMNS = ("order_id", "customer_id")
WORD_COLUMNS = ("country", "description", "currency", "shop")
# Types, by DuckDB's names, that cannot hold a value of an order line; and types that do not keep all digits of an id.
TYPES_OF_NO_VALUE = re.compile(r"(STRUCT|MAP|UNION|VARIANT|BOOLEAN|INTERVAL|BIT)\b|.*\]$")
TYPES_OF_NO_ID = re.compile(r"FLOAT$|TIME|DATE")
# Begins like a number, a date or an amount, so it is not a column name.
VALUE = re.compile(r"\s*[-+]?[0-9]+([-/.,: ]|$)")

# A file must have at least one column of each group.
REQUIRED_COLUMNS = (("customer_id",), ("ordered_at",), ("unit_price", "amount"))


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The names that each column of raw_orders may have in a file, in order of preference.

    Attributes:
        preset: The name of the preset, for error lines.
        names: Column of raw_orders -> its possible names, from the preset.
        overrides: Column of raw_orders -> its name, from the settings.
    """

    preset: str
    names: Mapping[str, Sequence[str]]
    overrides: Mapping[str, str]

    def find_in(self, header: Sequence[str], file: str) -> dict[str, str]:
        """Returns the columns that were found: column of raw_orders -> column of the file.

        Args:
            header: The file's columns.
            file: The name of the file or table, for the error line.

        Raises:
            UsageError: A column that the settings name is not in the file.
            DataError: A required column was not found; the line names the most similar columns of the file.
        """
        by_plain_name: dict[str, list[str]] = {}
        for name in header:
            by_plain_name.setdefault(plain(name), []).append(name)
        found: dict[str, str] = {}
        for column, name in self.overrides.items():
            if name not in header:
                raise UsageError(f"source.columns.{column}: {file} has no column {name!r}; it has {_listed(header)}")
            found[column] = name
        for column in ORDER_COLUMNS:
            if column in found:
                continue
            for name in self.names.get(column, ()):
                matches = [match for match in by_plain_name.get(plain(name), ()) if match not in found.values()]
                if len(set(matches)) > 1:
                    # Only their order could decide, and it may be different in the next file.
                    raise DataError(
                        f"{file}: {column} can be {' or '.join(map(repr, matches))}; name it with"
                        f" --set source.columns.{column}=COLUMN"
                    )
                if matches:
                    found[column] = matches[0]
                    break
        missing = [group for group in REQUIRED_COLUMNS if not any(column in found for column in group)]
        if missing:
            raise DataError(self._not_found(missing, header, file))
        for name in found.values():
            if list(header).count(name) > 1:
                raise DataError(f"{file}: two columns are named {name!r}")
        return {column: found[column] for column in ORDER_COLUMNS if column in found}

    def _not_found(self, missing: Sequence[Sequence[str]], header: Sequence[str], file: str) -> str:
        """Returns the error line for groups of required columns that are missing."""
        listed = _listed(header)
        if len(header) > 1 and 2 * sum(bool(VALUE.match(name)) for name in header) >= len(header):
            return f"{file}: its first line holds values, not names; a header line is needed"
        columns = [column for group in missing for column in group]
        looked_for = [name for column in columns for name in self.names.get(column, ())]
        close = dict.fromkeys(match for name in (*columns, *looked_for) for match in nearest(name, header))
        return (
            f"{file}: no column for {', '.join(' or '.join(group) for group in missing)} (preset {self.preset})"
            f": looked for {_listed(looked_for)}; the file has {listed}"
            f"; nearest: {_listed(list(close)) if close else 'none'}"
            f"; name {'it' if len(missing) == 1 else 'them'} with"
            f" {' '.join(f'--set source.columns.{group[0]}=COLUMN' for group in missing)}"
        )


def column_names(preset: str, preset_file: Mapping[str, object], overrides: Mapping[str, str]) -> ColumnNames:
    """Returns the names that columns may have.

    Args:
        preset: The name of the preset, for error lines.
        preset_file: The content of the preset's file.
        overrides: Column of raw_orders -> its name, from the settings.

    Raises:
        UsageError: The preset or the settings name a column that raw_orders does not have.
    """
    names = preset_file.get("columns", {})
    if not isinstance(names, Mapping):
        raise UsageError(f"preset {preset}: [columns] must give a list of names per column")
    for column in (*names, *overrides):
        if column not in ORDER_COLUMNS:
            raise UsageError(f"preset {preset}: raw_orders has no column {column!r}; it has {_listed(ORDER_COLUMNS)}")
    for column, value in names.items():
        if not isinstance(value, str) and not (
            isinstance(value, list) and all(isinstance(name, str) for name in value)
        ):
            raise UsageError(f"preset {preset}: [columns] {column} must be a name or a list of names")
    return ColumnNames(
        preset, {column: [value] if isinstance(value, str) else value for column, value in names.items()}, overrides
    )


def refuse_types(header: Sequence[str], types: Sequence[str], columns: Mapping[str, str], file: str) -> None:
    """Refuses a column whose type is not text, a number or a date.

    Args:
        header: The file's columns.
        types: Their types by DuckDB's names; empty if every value is text.
        columns: Column of raw_orders -> column of the file.
        file: The name of the file, for the error line.

    Raises:
        DataError: There is such a column.
    """
    for column, name in columns.items() if types else ():
        type_ = types[header.index(name)]
        if column not in WORD_COLUMNS and TYPES_OF_NO_VALUE.match(type_):
            raise DataError(f"{file}: column {name!r}, used as {column}, has type {type_}; it needs a single value")
        if column in ID_COLUMNS and TYPES_OF_NO_ID.match(type_):
            raise DataError(
                f"{file}: column {name!r}, used as {column}, has type {type_}, which cannot hold an id; write whole"
                " numbers or text"
            )


def plain(name: str) -> str:
    """Returns a column name without case, blanks and punctuation: `Customer ID` and customer_id become the same."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    # A quoted name may contain a line break, but the error must stay one line.
    return ", ".join(_shortened(" ".join(name.split()), NAME_WIDTH) for name in names[:NAMES_SHOWN]) + more


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[:width]}..."
