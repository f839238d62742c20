"""Candidate models: every algorithm is fitted on weighted cells and assessed, for every number of clusters."""
