"""Implementation: a segment for every customer, what segments are and what to do with them, published for teams."""
