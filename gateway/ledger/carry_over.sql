-- What was spent under an agreement counts for its supplement. What is only reserved does not: nothing can begin under the
-- agreement of before any more, so that it is given back there.
UPDATE accounts
SET spent_rho_units = MIN(limit_rho_units, (
        SELECT earlier.spent_rho_units FROM accounts AS earlier WHERE earlier.kind = 'agreement' AND earlier.name = :before
    ) - (
        SELECT COALESCE(SUM(rho_units), 0) FROM charges
        WHERE kind = 'agreement' AND name = :before AND state = 'reserved'
    )),
    spent_delta0_units = MIN(limit_delta0_units, (
        SELECT earlier.spent_delta0_units FROM accounts AS earlier
        WHERE earlier.kind = 'agreement' AND earlier.name = :before
    ) - (
        SELECT COALESCE(SUM(delta0_units), 0) FROM charges
        WHERE kind = 'agreement' AND name = :before AND state = 'reserved'
    ))
WHERE kind = 'agreement' AND name = :agreement
