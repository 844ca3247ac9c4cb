-- The same for every organisation's account of a dataset; `prefix` is what their names begin with.
UPDATE accounts
SET limit_rho_units = CASE WHEN :rho_units < limit_rho_units THEN :rho_units ELSE limit_rho_units END,
    limit_delta0_units = CASE WHEN :delta0_units < limit_delta0_units THEN :delta0_units ELSE limit_delta0_units END
WHERE kind = 'organisation' AND substr(name, 1, length(:prefix)) = :prefix
