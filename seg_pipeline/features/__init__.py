"""Data preparation, second half: what is known of each customer on a night, and on which scale they are compared."""
