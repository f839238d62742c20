"""What a person asks for, above Dagster: run, backfill, inspect, init, explain, erase, list and pin champions.

Each module does one of them, as a function that takes the settings and returns a record; it parses and prints nothing.
execution.py runs Dagster's jobs for them.
"""
