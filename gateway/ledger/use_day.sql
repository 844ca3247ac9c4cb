-- Count one use of an agreement on a day, or change nothing where the day has none left.
INSERT INTO agreement_days (agreement, day, uses) VALUES (:agreement, :day, 1)
ON CONFLICT (agreement, day) DO UPDATE SET uses = uses + 1 WHERE uses < :most
