-- Count one use of an agreement, or change nothing where none is left.
UPDATE agreements SET uses = uses + 1 WHERE agreement = :agreement AND (max_uses IS NULL OR uses < max_uses)
