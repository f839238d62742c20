"""What a person asks for, above Dagster: run, backfill, inspect, init, explain, erase."""
