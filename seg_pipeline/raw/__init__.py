"""Data understanding: orders as delivered, and how the columns of a file are recognised."""
