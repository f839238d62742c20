"""Translates statements from DuckDB's dialect to Spark's. sqlglot does most of it; this module adds the rest.

If the two engines give the same words different meanings, DuckDB's meaning holds. How text is read as a number or a
time is decided by DuckDB alone, so each such cast becomes a function (`Cast`) with which the workers let DuckDB read a
column of text.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlglot import exp, parse_one

# The characters that DuckDB's trim removes: Unicode's space separators. Spark's trim only removes the space.
BLANKS = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
# Begins the names of parameters while a statement is translated.
PARAMETER = "parameter__"
# The types to which DuckDB casts text in the workers, with Spark's names.
CAST_TYPES = {exp.DataType.Type.TIMESTAMPNTZ: "timestamp_ntz", exp.DataType.Type.DECIMAL: "decimal({})"}
# Values written like this (most are) are read alike by both engines, so Spark reads them without asking DuckDB.
PLAIN = {
    exp.DataType.Type.TIMESTAMPNTZ: r"\A[12][0-9]{3}(-[0-9]{2}){2}( ([01][0-9]|2[0-3])(:[0-5][0-9]){1,2})?\z",
    exp.DataType.Type.DECIMAL: r"\A-?[0-9]{1,9}([.][0-9]{1,4})?\z",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """A function of text that DuckDB evaluates.

    Attributes:
        name: The name of the function in Spark.
        expression: DuckDB's expression on the column `value`.
        type: The type of its result, with Spark's name.
        formats: The list that the expression binds as `$formats`.
    """

    name: str
    expression: str
    type: str
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for Spark.

    Attributes:
        kind: query, table, view or drop.
        target: The name of the table or view that it creates or drops; empty for a query.
        query: The query in Spark's dialect, in which tables have no schema.
        tables: The tables that the query reads, with their schema.
        casts: The functions that it calls.
        materialized: Name and query of each CTE that is MATERIALIZED, which the query reads as a temporary table.
    """

    kind: str
    target: str
    query: str
    tables: tuple[str, ...] = ()
    casts: tuple[Cast, ...] = ()
    materialized: tuple[tuple[str, str], ...] = ()


def translate(statement: str, parameters: Mapping[str, Any]) -> Statement:
    """Returns a statement for Spark, which names the same parameters, except for lists of time formats."""
    formats = {name: tuple(value) for name, value in parameters.items() if isinstance(value, list | tuple)}
    return _translate(statement, tuple(sorted(formats.items())))


def type_of(duckdb_type: str) -> str:
    """Returns Spark's name of a type of DuckDB."""
    return exp.DataType.build(duckdb_type, dialect="duckdb").sql(dialect="spark").lower()


@lru_cache(maxsize=256)
def _translate(statement: str, formats: tuple[tuple[str, tuple[str, ...]], ...]) -> Statement:
    # sqlglot would read some `$name` as the start of a dollar-quoted text.
    tree = parse_one(re.sub(r"\$([a-z_]+)", rf"{PARAMETER}\1", statement), read="duckdb")
    if isinstance(tree, exp.Drop):
        return Statement("drop", tree.args["tables"][0].name, "")
    kind, target, query = "query", "", tree
    if isinstance(tree, exp.Create):
        kind, target, query = tree.kind.lower(), tree.this.name, tree.expression
    elif isinstance(tree, exp.Update):
        kind, target, query = "table", tree.this.name, _rows_after(tree)
    rules = _Rules(dict(formats))
    query = rules.apply(query)
    materialized = tuple((name, cte.sql(dialect="spark")) for name, cte in _extract_materialized(query))
    return Statement(
        kind, target, query.sql(dialect="spark"), tuple(rules.tables), tuple(rules.casts.values()), materialized
    )


def _extract_materialized(query: exp.Expression) -> list[tuple[str, exp.Expression]]:
    """Removes the MATERIALIZED CTEs from a query and returns them; Spark would compute them each time they are read."""
    materialized = []
    for cte in [cte for cte in query.find_all(exp.CTE) if cte.args.get("materialized")]:
        name = f"{cte.alias}__materialized"
        earlier = cte.parent.expressions[: cte.parent.expressions.index(cte)]
        for reference in [table for table in query.find_all(exp.Table) if table.name == cte.alias and not table.db]:
            reference.replace(exp.alias_(exp.to_table(name), reference.alias_or_name, table=True))
        cte_query = cte.this.copy()
        cte_query.set("with_", exp.With(expressions=[one.copy() for one in earlier]))
        materialized.append((name, cte_query))
        cte.pop()
    return materialized


def _rows_after(update: exp.Update) -> exp.Expression:
    """Returns a query of all rows of a table after `UPDATE t SET c = m.c FROM (...) AS m WHERE t.k = m.k`."""
    table, source = update.this, update.args["from_"].this
    [assigned] = update.expressions
    column = assigned.this.name
    on = update.args["where"].this
    key = on.expression if on.expression.table == source.alias else on.this
    value = (
        exp.case().when(key.copy().is_(exp.null()).not_(), assigned.expression).else_(exp.column(column, table.name))
    )
    others = exp.Star(except_=[exp.to_identifier(column)])
    return (
        exp.select(exp.Column(this=others, table=exp.to_identifier(table.name)), exp.alias_(value, column))
        .from_(table.copy())
        .join(source.copy(), on=on.copy(), join_type="left")
    )


@dataclass(slots=True)
class _Rules:
    """Rewrites one statement, and collects the tables and casts that it needs.

    Attributes:
        formats: The parameters that are lists of time formats.
        tables: The tables that the statement reads, in order (a dict as an ordered set).
        casts: The casts, by their names.
        ctes: The names of the statement's CTEs.
    """

    formats: Mapping[str, tuple[str, ...]]
    tables: dict[str, None] = field(default_factory=dict)
    casts: dict[str, Cast] = field(default_factory=dict)
    ctes: set[str] = field(default_factory=set)

    def apply(self, tree: exp.Expression) -> exp.Expression:
        """Returns the tree after rewriting each node, inner nodes first, with the method named after its class."""
        self.ctes |= {cte.alias for cte in tree.find_all(exp.CTE)}
        for node in reversed(list(tree.walk())):
            rule = getattr(self, f"_{type(node).__name__.lower()}", None)
            if rule and (new := rule(node)) is not node:
                tree = new if node is tree else tree
                node.replace(new)
        return tree

    def _column(self, node: exp.Column) -> exp.Expression:
        return exp.Placeholder(this=node.name.removeprefix(PARAMETER)) if node.name.startswith(PARAMETER) else node

    def _table(self, node: exp.Table) -> exp.Expression:
        name = node.name
        if name and (node.db or name not in self.ctes):
            self.tables[f"{node.db}.{name}" if node.db else name] = None
            node.set("db", None)
        return node

    def _trim(self, node: exp.Trim) -> exp.Expression:
        if node.expression:
            return node
        trim_all = exp.Trim(this=node.this.copy(), expression=exp.Literal.string(BLANKS), position="BOTH")
        if not isinstance(node.this, exp.Column):
            return trim_all
        # Most texts are ASCII, whose only such blank is the space; trimming all blanks takes several times as long.
        octets, characters = (
            exp.Anonymous(this=name, expressions=[node.this.copy()]) for name in ("octet_length", "char_length")
        )
        return exp.If(this=exp.EQ(this=octets, expression=characters), true=node.copy(), false=trim_all)

    def _div(self, node: exp.Div) -> exp.Expression:
        return exp.Div(this=_double(node.this), expression=_double(node.expression), typed=True)

    def _regexpfullmatch(self, node: exp.RegexpFullMatch) -> exp.Expression:
        return _full_match(node.this, node.expression)

    def _regexpreplace(self, node: exp.RegexpReplace) -> exp.Expression:
        replacement = node.args["replacement"]
        if isinstance(replacement, exp.Literal):
            node.set("replacement", exp.Literal.string(re.sub(r"\\([0-9])", r"$\1", replacement.this)))
        return node

    def _anonymous(self, node: exp.Anonymous) -> exp.Expression:
        name, arguments = node.name.lower(), node.expressions
        if name == "regexp_full_match":
            return _full_match(*arguments)
        if name == "hash":
            return exp.Anonymous(this="xxhash64", expressions=arguments)
        if name == "list_position":
            return exp.Anonymous(this="array_position", expressions=arguments)
        if name == "try_strptime":
            return self._duckdb(arguments[0], "timestamp_ntz", "try_strptime(value, {})", arguments[1])
        return node

    def _cast(self, node: exp.Cast) -> exp.Expression:
        if node.to.this == exp.DataType.Type.INT128:
            node.set("to", exp.DataType.build("DECIMAL(38, 0)"))
        return node

    def _trycast(self, node: exp.TryCast) -> exp.Expression:
        type_ = node.to
        if type_.this in CAST_TYPES and not isinstance(node.this, exp.Mul):
            spark = CAST_TYPES[type_.this].format(", ".join(part.name for part in type_.expressions))
            is_plain = exp.RegexpLike(this=node.this, expression=exp.Literal.string(PLAIN[type_.this]))
            other_text = exp.If(this=is_plain.copy(), true=exp.null(), false=node.this.copy())
            read = self._duckdb(other_text, spark, f"try_cast(value AS {type_.sql(dialect='duckdb')})")
            return exp.func("coalesce", exp.If(this=is_plain, true=node.copy(), false=exp.null()), read)
        return node

    def _duckdb(
        self, text: exp.Expression, type_: str, expression: str, formats: exp.Expression | None = None
    ) -> exp.Expression:
        """Returns a call of the function with which DuckDB evaluates an expression on a text."""
        format_list: tuple[str, ...] = ()
        if isinstance(formats, exp.Placeholder):
            format_list = self.formats[formats.name]
            expression = expression.format("$formats")
        elif formats is not None:
            expression = expression.format(formats.sql(dialect="duckdb"))
        # The same function has the same name in every statement of a session.
        digest = hashlib.sha256("\n".join((expression, *format_list)).encode()).hexdigest()
        cast = Cast(f"duckdb_{digest[:16]}", expression, type_, format_list)
        self.casts[cast.name] = cast
        return exp.Anonymous(this=cast.name, expressions=[text])

    def _length(self, node: exp.Length) -> exp.Expression:
        # DuckDB's len also takes a list.
        return exp.ArraySize(this=node.this) if isinstance(node.this, exp.ArrayFilter) else node

    def _percentiledisc(self, node: exp.PercentileDisc) -> exp.Expression:
        # DuckDB: quantile_disc(x, share); the share may be a list.
        return exp.WithinGroup(
            this=exp.Anonymous(this="percentile_disc", expressions=[node.expression]),
            expression=exp.Order(expressions=[exp.Ordered(this=node.this)]),
        )

    def _argmin(self, node: exp.ArgMin) -> exp.Expression:
        if isinstance(node.expression, exp.Tuple):
            node.set("expression", exp.Anonymous(this="struct", expressions=node.expression.expressions))
        return node

    def _in(self, node: exp.In) -> exp.Expression:
        # (a, b) IN (SELECT (a, b) ...): Spark expects SELECT a, b.
        query = node.args.get("query")
        if isinstance(node.this, exp.Tuple) and query is not None:
            select = query.this if isinstance(query, exp.Subquery) else query
            [one] = select.expressions
            if isinstance(one, exp.Tuple):
                select.set("expressions", one.expressions)
        return node


def _double(node: exp.Expression) -> exp.Expression:
    return exp.cast(node, "DOUBLE")


def _full_match(text: exp.Expression, pattern: exp.Expression) -> exp.Expression:
    # In Java's regular expressions a final $ also matches before a line end, and \z does not.
    whole = exp.Concat(
        expressions=[exp.Literal.string(r"\A(?:"), pattern, exp.Literal.string(r")\z")], safe=False, coalesce=False
    )
    return exp.RegexpLike(this=text, expression=whole)
