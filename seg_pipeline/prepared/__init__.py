"""Data preparation: every raw line ends in clean_orders, or in rejected_orders with a reason."""
