"""A zone in one folder on one machine: make it, run it, bring data into it."""
