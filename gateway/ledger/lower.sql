-- Lower the limit of one account; never raise it, in neither part.
UPDATE accounts
SET limit_rho_units = CASE WHEN :rho_units < limit_rho_units THEN :rho_units ELSE limit_rho_units END,
    limit_delta0_units = CASE WHEN :delta0_units < limit_delta0_units THEN :delta0_units ELSE limit_delta0_units END
WHERE kind = :kind AND name = :name
