-- The same of the uses of each day.
INSERT INTO agreement_days (agreement, day, uses)
SELECT :agreement, day, uses FROM agreement_days WHERE agreement = :before
ON CONFLICT DO NOTHING
