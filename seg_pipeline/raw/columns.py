"""Finds which column of a file is which column of raw_orders: by the preset's names, or as the settings say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg_pipeline.errors import DataError, UsageError, nearest

# Keeps an error one readable line; the longest list of names of a preset fits.
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

# SQL: a delivered customer id as clean_orders has it, without the blanks around it. A spreadsheet's 17850.0 is 17850.
# parsed_lines.sql does the same step by step, since most ids need none of it.
CUSTOMER_TEXT = r"regexp_replace(trim(customer_id, $blanks), $spreadsheet_id, '\1')"
# What it binds.
CUSTOMER_ID = {"blanks": " \t\r\n\v\f\u00a0\u3000\ufeff", "spreadsheet_id": r"^([0-9]+)\.0+\z"}

IDS = ("order_id", "customer_id")
WORDS = ("country", "description", "currency", "shop")
# Types, by DuckDB's names, that hold no value of an order line; and types that do not keep all digits of an id.
NO_VALUE = re.compile(r"(STRUCT|MAP|UNION|VARIANT|BOOLEAN|INTERVAL|BIT)\b|.*\]$")
NO_ID = re.compile(r"FLOAT$|TIME|DATE")
# Begins like a number, a date or an amount, so it is no column name.
VALUE = re.compile(r"\s*[-+]?[0-9]+([-/.,: ]|$)")

# At least one column of each group must be there.
NEEDED = (("customer_id",), ("ordered_at",), ("unit_price", "amount"))


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The names that each column of raw_orders may have in a file, the preferred first.

    Attributes:
        preset: The preset that they come from, for error lines.
        names: Column of raw_orders -> its possible names.
        given: Column of raw_orders -> the name that the settings give it.
    """

    preset: str
    names: Mapping[str, Sequence[str]]
    given: Mapping[str, str]

    def find_in(self, header: Sequence[str], where: str) -> dict[str, str]:
        """Returns which column of the file is which: column of raw_orders -> column of the file.

        Args:
            header: The file's columns.
            where: The file, for the error line.

        Raises:
            UsageError: A column that the settings name is not in the file.
            DataError: A needed column was not found; the line names the nearest columns of the file.
        """
        by_plain_name: dict[str, list[str]] = {}
        for name in header:
            by_plain_name.setdefault(plain(name), []).append(name)
        found: dict[str, str] = {}
        for column, name in self.given.items():
            if name not in header:
                raise UsageError(f"source.columns.{column}: {where} has no column {name!r}; it has {_listed(header)}")
            found[column] = name
        for column in ORDER_COLUMNS:
            if column in found:
                continue
            for name in self.names.get(column, ()):
                alike = [one for one in by_plain_name.get(plain(name), ()) if one not in found.values()]
                if len(set(alike)) > 1:
                    # Only their order could decide, and it may be different in the next file.
                    raise DataError(
                        f"{where}: {column} can be {' or '.join(map(repr, alike))}; name it with"
                        f" --set source.columns.{column}=COLUMN"
                    )
                if alike:
                    found[column] = alike[0]
                    break
        missing = [needed for needed in NEEDED if not any(column in found for column in needed)]
        if missing:
            raise DataError(self._not_found(missing, header, where))
        for name in found.values():
            if list(header).count(name) > 1:
                raise DataError(f"{where}: two columns are named {name!r}")
        return {column: found[column] for column in ORDER_COLUMNS if column in found}

    def _not_found(self, missing: Sequence[Sequence[str]], header: Sequence[str], where: str) -> str:
        listed = _listed(header)
        if len(header) > 1 and 2 * sum(bool(VALUE.match(name)) for name in header) >= len(header):
            return f"{where}: its first line holds values, not names: {listed}; a header line is needed"
        looked_for = [name for needed in missing for column in needed for name in self.names.get(column, ())]
        wanted = [column for needed in missing for column in needed]
        close = dict.fromkeys(match for name in (*wanted, *looked_for) for match in nearest(name, header))
        return (
            f"{where}: no column for {', '.join(' or '.join(needed) for needed in missing)} (preset {self.preset})"
            f": looked for {_listed(looked_for)}; the file has {listed}"
            f"; nearest: {_listed(list(close)) if close else 'none'}"
            f"; name {'it' if len(missing) == 1 else 'them'} with"
            f" {' '.join(f'--set source.columns.{needed[0]}=COLUMN' for needed in missing)}"
        )


def column_names(preset: str, presets_file: Mapping[str, object], given: Mapping[str, str]) -> ColumnNames:
    """Returns the names that columns may have.

    Args:
        preset: Name of the preset, for error lines.
        presets_file: What the preset's file says.
        given: Column of raw_orders -> the name that the settings give it.

    Raises:
        UsageError: The preset or the settings name a column that raw_orders does not have.
    """
    names = presets_file.get("columns", {})
    if not isinstance(names, Mapping):
        raise UsageError(f"preset {preset}: [columns] must give a list of names per column")
    for column in (*names, *given):
        if column not in ORDER_COLUMNS:
            raise UsageError(f"preset {preset}: raw_orders has no column {column!r}; it has {_listed(ORDER_COLUMNS)}")
    for column, value in names.items():
        if not isinstance(value, str) and not (
            isinstance(value, list) and all(isinstance(name, str) for name in value)
        ):
            raise UsageError(f"preset {preset}: [columns] {column} must be a name or a list of names")
    return ColumnNames(
        preset, {column: [value] if isinstance(value, str) else value for column, value in names.items()}, given
    )


def refuse_types(header: Sequence[str], types: Sequence[str], columns: Mapping[str, str], where: str) -> None:
    """Refuses a column whose type is no text, number or date.

    Args:
        header: The file's columns.
        types: Their types by DuckDB's names; empty if every value is text.
        columns: Column of raw_orders -> column of the file.
        where: The file, for the error line.

    Raises:
        DataError: There is such a column.
    """
    for column, name in columns.items() if types else ():
        type_ = types[header.index(name)]
        if column not in WORDS and NO_VALUE.match(type_):
            raise DataError(f"{where}: its column {name!r} for {column} is {type_}, which is no value")
        if column in IDS and NO_ID.match(type_):
            raise DataError(
                f"{where}: its column {name!r} for {column} is {type_}, which is no id; write whole numbers or text"
            )


def plain(name: str) -> str:
    """Returns a column name without case, blanks and punctuation: `Customer ID` and customer_id are one."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    # A quoted name may have a line break, and the error is one line.
    return ", ".join(_shortened(" ".join(name.split()), NAME_WIDTH) for name in names[:NAMES_SHOWN]) + more


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[:width]}..."
