"""The benchmark: `seg-pipeline run` beside the script that people write by hand, whole processes in turn.

It measures and does not judge, and is no test. What the figures mean stands in docs/benchmarks.md.
"""
