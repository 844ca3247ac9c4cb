-- Give a charge back; only one that is still reserved, which no node can have begun to compute for.
UPDATE budgets
SET spent_rho_units = spent_rho_units - (SELECT rho_units FROM charges WHERE job = :job AND state = 'reserved')
WHERE dataset = (SELECT dataset FROM charges WHERE job = :job AND state = 'reserved')
