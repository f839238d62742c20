"""Statements of DuckDB's dialect as Spark says them. sqlglot does most of it; here is what it cannot know.

Where the two engines mean different things by the same words, DuckDB's meaning holds. What text means as a number or a
time is DuckDB's own to say, so the workers ask it: each such cast becomes a function that DuckDB evaluates on a column
of text (`Cast`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlglot import exp, parse_one

# What DuckDB's trim takes for a blank: Unicode's space separators. Spark's takes the space alone.
BLANKS = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
# How a parameter is named while its statement is worked on.
PARAMETER = "parameter__"
# Types that text is cast to by DuckDB in the workers, as Spark names them.
CAST_TYPES = {exp.DataType.Type.TIMESTAMPNTZ: "timestamp_ntz", exp.DataType.Type.DECIMAL: "decimal({})"}
# Most values are written plainly. Of these both engines think alike, and they need not go the way to DuckDB and back.
PLAIN = {
    exp.DataType.Type.TIMESTAMPNTZ: r"\A[12][0-9]{3}(-[0-9]{2}){2}( ([01][0-9]|2[0-3])(:[0-5][0-9]){1,2})?\z",
    exp.DataType.Type.DECIMAL: r"\A-?[0-9]{1,9}([.][0-9]{1,4})?\z",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """A function of text that DuckDB evaluates: its expression on the column `value`, the list that it binds."""

    name: str
    expression: str
    type: str
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for Spark: what it makes and of which kind, the query, and what that needs.

    `kind` is query, table, view or drop; `tables` are the names that it reads, without their schema in `query`.
    `kept` are queries that it reads as temporary tables, by their names: its CTEs that are MATERIALIZED.
    """

    kind: str
    made: str
    query: str
    tables: tuple[str, ...] = ()
    casts: tuple[Cast, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()


def translated(statement: str, parameters: Mapping[str, Any]) -> Statement:
    """A statement for Spark. Parameters stay named in it, but for lists of formats that times are read with."""
    formats = {name: tuple(value) for name, value in parameters.items() if isinstance(value, list | tuple)}
    return _translated(statement, tuple(sorted(formats.items())))


def type_of(duckdb_type: str) -> str:
    """A column's type as Spark names it."""
    return exp.DataType.build(duckdb_type, dialect="duckdb").sql(dialect="spark").lower()


@lru_cache(maxsize=256)
def _translated(statement: str, formats: tuple[tuple[str, tuple[str, ...]], ...]) -> Statement:
    # sqlglot takes some `$name` for the beginning of a dollar-quoted text.
    tree = parse_one(re.sub(r"\$([a-z_]+)", rf"{PARAMETER}\1", statement), read="duckdb")
    if isinstance(tree, exp.Drop):
        return Statement("drop", tree.args["tables"][0].name, "")
    kind, made, query = "query", "", tree
    if isinstance(tree, exp.Create):
        kind, made, query = tree.kind.lower(), tree.this.name, tree.expression
    elif isinstance(tree, exp.Update):
        kind, made, query = "table", tree.this.name, _updated(tree)
    rules = _Rules(dict(formats))
    query = rules.applied(query)
    kept = tuple((name, part.sql(dialect="spark")) for name, part in _kept(query))
    return Statement(kind, made, query.sql(dialect="spark"), tuple(rules.tables), tuple(rules.casts.values()), kept)


def _kept(query: exp.Expression) -> list[tuple[str, exp.Expression]]:
    """Takes the CTEs that are MATERIALIZED out of a query: Spark computes a CTE once for each time that it is read."""
    kept = []
    for part in [part for part in query.find_all(exp.CTE) if part.args.get("materialized")]:
        name = f"{part.alias}__kept"
        before = part.parent.expressions[: part.parent.expressions.index(part)]
        for read in [table for table in query.find_all(exp.Table) if table.name == part.alias and not table.db]:
            read.replace(exp.alias_(exp.to_table(name), read.alias_or_name, table=True))
        own = part.this.copy()
        own.set("with_", exp.With(expressions=[one.copy() for one in before]))
        kept.append((name, own))
        part.pop()
    return kept


def _updated(update: exp.Update) -> exp.Expression:
    """`UPDATE t SET c = m.c FROM (...) AS m WHERE t.k = m.k` as a query of all rows of t as they are afterwards."""
    table, source = update.this, update.args["from_"].this
    [assigned] = update.expressions
    column = assigned.this.name
    on = update.args["where"].this
    key = on.expression if on.expression.table == source.alias else on.this
    value = (
        exp.case().when(key.copy().is_(exp.null()).not_(), assigned.expression).else_(exp.column(column, table.name))
    )
    kept = exp.Star(except_=[exp.to_identifier(column)])
    return (
        exp.select(exp.Column(this=kept, table=exp.to_identifier(table.name)), exp.alias_(value, column))
        .from_(table.copy())
        .join(source.copy(), on=on.copy(), join_type="left")
    )


@dataclass(slots=True)
class _Rules:
    """The rewriting of one statement, and what is learnt of it on the way."""

    formats: Mapping[str, tuple[str, ...]]
    tables: dict[str, None] = field(default_factory=dict)
    casts: dict[str, Cast] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def applied(self, tree: exp.Expression) -> exp.Expression:
        """The tree with every node rewritten by the method that is named after its kind, inner nodes first."""
        self.made |= {part.alias for part in tree.find_all(exp.CTE)}
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
        if name and not (not node.db and name in self.made):
            self.tables[f"{node.db}.{name}" if node.db else name] = None
            node.set("db", None)
        return node

    def _trim(self, node: exp.Trim) -> exp.Expression:
        if node.expression:
            return node
        every = exp.Trim(this=node.this.copy(), expression=exp.Literal.string(BLANKS), position="BOTH")
        if not isinstance(node.this, exp.Column):
            return every
        # Most texts are ASCII, which has no blank but the space; looking for many of them costs several times as much.
        octets, characters = (
            exp.Anonymous(this=name, expressions=[node.this.copy()]) for name in ("octet_length", "char_length")
        )
        return exp.If(this=exp.EQ(this=octets, expression=characters), true=node.copy(), false=every)

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
            others = exp.If(this=is_plain.copy(), true=exp.null(), false=node.this.copy())
            read = self._duckdb(others, spark, f"try_cast(value AS {type_.sql(dialect='duckdb')})")
            return exp.func("coalesce", exp.If(this=is_plain, true=node.copy(), false=exp.null()), read)
        return node

    def _duckdb(
        self, text: exp.Expression, type_: str, expression: str, formats: exp.Expression | None = None
    ) -> exp.Expression:
        bound: tuple[str, ...] = ()
        if isinstance(formats, exp.Placeholder):
            bound = self.formats[formats.name]
            expression = expression.format("$formats")
        elif formats is not None:
            expression = expression.format(formats.sql(dialect="duckdb"))
        # The same work has the same name in every statement of a session.
        work = hashlib.sha256("\n".join((expression, *bound)).encode()).hexdigest()
        cast = Cast(f"duckdb_{work[:16]}", expression, type_, bound)
        self.casts[cast.name] = cast
        return exp.Anonymous(this=cast.name, expressions=[text])

    def _length(self, node: exp.Length) -> exp.Expression:
        # DuckDB's len of a list.
        return exp.ArraySize(this=node.this) if isinstance(node.this, exp.ArrayFilter) else node

    def _percentiledisc(self, node: exp.PercentileDisc) -> exp.Expression:
        # DuckDB form: quantile_disc(x, share), the share maybe a list.
        return exp.WithinGroup(
            this=exp.Anonymous(this="percentile_disc", expressions=[node.expression]),
            expression=exp.Order(expressions=[exp.Ordered(this=node.this)]),
        )

    def _argmin(self, node: exp.ArgMin) -> exp.Expression:
        if isinstance(node.expression, exp.Tuple):
            node.set("expression", exp.Anonymous(this="struct", expressions=node.expression.expressions))
        return node

    def _in(self, node: exp.In) -> exp.Expression:
        # (a, b) IN (SELECT (a, b) ...): Spark takes the columns one by one.
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
    # In Java a $ at the end lets a last line end pass.
    whole = exp.Concat(
        expressions=[exp.Literal.string(r"\A(?:"), pattern, exp.Literal.string(r")\z")], safe=False, coalesce=False
    )
    return exp.RegexpLike(this=text, expression=whole)
