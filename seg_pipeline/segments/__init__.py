"""The segments of a night: which customers are in each, what they are like, who moved, and what to do for them."""
