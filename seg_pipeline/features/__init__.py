"""The second half of data preparation: each customer's features on a night, and the scale on which they compare."""
