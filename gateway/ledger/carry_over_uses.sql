-- The same of its uses, up to as many as the supplement allows.
UPDATE agreements
SET uses = MIN(COALESCE(max_uses, 9223372036854775807), (
        SELECT earlier.uses FROM agreements AS earlier WHERE earlier.agreement = :before
    ) - (
        SELECT COUNT(*) FROM charges WHERE kind = 'agreement' AND name = :before AND state = 'reserved'
    ))
WHERE agreement = :agreement
