-- Open an account, unless it is there.
INSERT INTO accounts (kind, name, limit_rho_units, spent_rho_units, limit_delta0_units, spent_delta0_units)
VALUES (:kind, :name, :rho_units, 0, :delta0_units, 0)
ON CONFLICT DO NOTHING
