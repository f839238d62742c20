"""Tests of the Spark engine, on real Spark: `make test-spark`. They need Java and PySpark."""
