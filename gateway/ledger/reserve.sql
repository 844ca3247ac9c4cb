-- Take an amount from a dataset's budget, or change nothing where it does not fit. What is reserved counts as spent.
UPDATE budgets
SET spent_rho_units = spent_rho_units + :rho_units, spent_delta0_units = spent_delta0_units + :delta0_units
WHERE dataset = :dataset AND spent_rho_units + :rho_units <= limit_rho_units
    AND spent_delta0_units + :delta0_units <= limit_delta0_units
