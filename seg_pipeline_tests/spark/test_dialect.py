"""DuckDB's statements as Spark says them; that they mean the same is tested with tables."""

from seg_pipeline.warehouse.dialect import translated


def test_a_query_that_is_materialized_is_made_before_the_one_that_reads_it():
    statement = translated(
        "WITH a AS (SELECT x FROM lines), b AS MATERIALIZED (SELECT x FROM a), c AS MATERIALIZED (SELECT x FROM b)"
        " SELECT b.x FROM b JOIN c AS d USING (x) WHERE d.x IN (SELECT max(x) FROM b)",
        {},
    )

    assert statement.kept == (
        ("b__kept", "WITH a AS (SELECT x FROM lines) SELECT x FROM a"),
        ("c__kept", "WITH a AS (SELECT x FROM lines) SELECT x FROM b__kept AS b"),
    )
    assert statement.query == (
        "WITH a AS (SELECT x FROM lines) SELECT b.x FROM b__kept AS b JOIN c__kept AS d USING (x)"
        " WHERE d.x IN (SELECT MAX(x) FROM b__kept AS b)"
    )
    assert statement.tables == ("lines",)
