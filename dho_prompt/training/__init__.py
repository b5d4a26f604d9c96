"""Runs: a configuration becomes student, method, teacher and objective, trained and tested in Dassl's order."""
