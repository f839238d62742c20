"""The choice among the candidate models: selection, plots and the report."""
