-- Give a charge back to every account that it was against; only one that is still reserved, which no node can have
-- begun to compute for.
UPDATE accounts
SET spent_rho_units = spent_rho_units - (
        SELECT rho_units FROM charges WHERE job = :job AND kind = accounts.kind AND name = accounts.name
    ),
    spent_delta0_units = spent_delta0_units - (
        SELECT delta0_units FROM charges WHERE job = :job AND kind = accounts.kind AND name = accounts.name
    )
WHERE (kind, name) IN (SELECT kind, name FROM charges WHERE job = :job AND state = 'reserved')
