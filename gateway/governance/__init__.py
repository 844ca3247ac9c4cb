"""Who may do what: datasets, grades, callers. Pure, but for reading metadata files."""
