"""Publishes what teams read, the report and the night's tables, and deletes nights past their retention."""
