"""Data understanding: orders as they were delivered, and how the columns of a file are recognised."""
