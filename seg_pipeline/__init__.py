"""Customer segments from raw order lines, by CRISP-DM: one folder per phase, in the order of the data flow."""
