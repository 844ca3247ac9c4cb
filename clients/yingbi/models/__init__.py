"""Models by their kind: what is asked for, what follows from opened integers, and what it says of rows."""
