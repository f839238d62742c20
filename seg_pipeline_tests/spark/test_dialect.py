"""How DuckDB's statements are written for Spark; test_lines.py tests that they mean the same."""

from seg_pipeline.warehouse.dialect import translate


def test_a_query_that_is_materialized_is_made_before_the_one_that_reads_it():
    statement = translate(
        "WITH a AS (SELECT x FROM lines), b AS MATERIALIZED (SELECT x FROM a), c AS MATERIALIZED (SELECT x FROM b)"
        " SELECT b.x FROM b JOIN c AS d USING (x) WHERE d.x IN (SELECT max(x) FROM b)",
        {},
    )

    assert statement.materialized == (
        ("b__materialized", "WITH a AS (SELECT x FROM lines) SELECT x FROM a"),
        ("c__materialized", "WITH a AS (SELECT x FROM lines) SELECT x FROM b__materialized AS b"),
    )
    assert statement.query == (
        "WITH a AS (SELECT x FROM lines) SELECT b.x FROM b__materialized AS b JOIN c__materialized AS d USING (x)"
        " WHERE d.x IN (SELECT MAX(x) FROM b__materialized AS b)"
    )
    assert statement.tables == ("lines",)
