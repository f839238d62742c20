"""Drawing, below the rooms that draw: tables in, figures out, and numbers as people write them."""
