"""What teams read: the report, the exported files and views, switched as a whole; and what is kept of past nights."""
