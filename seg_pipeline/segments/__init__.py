"""Implementation: a segment for every customer, what the segments are and what to do with them, published for the teams."""
