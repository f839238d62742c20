"""The algorithms that the pipeline compares, one file each; `models/registry.py` lists them."""
