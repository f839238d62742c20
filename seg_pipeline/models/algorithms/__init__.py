"""The algorithms that the pipeline compares, one file each."""
