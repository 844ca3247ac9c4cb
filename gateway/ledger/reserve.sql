-- Take an amount from one account, or change nothing where it does not hold it. What is reserved counts as spent.
UPDATE accounts
SET spent_rho_units = spent_rho_units + :rho_units, spent_delta0_units = spent_delta0_units + :delta0_units
WHERE kind = :kind AND name = :name
    AND spent_rho_units + :rho_units <= limit_rho_units
    AND spent_delta0_units + :delta0_units <= limit_delta0_units
