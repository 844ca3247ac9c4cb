-- Give a charge back to its dataset; only one that is still reserved, which no node can have begun to compute for.
UPDATE budgets
SET spent_rho_units = spent_rho_units - (SELECT rho_units FROM charges WHERE job = :job AND state = 'reserved'),
    spent_delta0_units = spent_delta0_units
        - (SELECT delta0_units FROM charges WHERE job = :job AND state = 'reserved')
WHERE dataset = (SELECT dataset FROM charges WHERE job = :job AND state = 'reserved')
