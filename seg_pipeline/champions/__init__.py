"""The champion: which model labels the customers, and the ids, names and rules of its segments."""
