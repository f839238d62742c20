"""Candidate models: every algorithm, for every number of clusters, fitted and scored on weighted cells."""
