"""Expectation suites: what each table must keep, checked inside the database."""
