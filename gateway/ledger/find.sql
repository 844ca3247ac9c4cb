-- The accounts of a budget; an organisation's is there from its first charge on.
SELECT kind, name, limit_rho_units, spent_rho_units
FROM accounts
WHERE (kind = 'dataset' AND name = :dataset)
    OR (kind = 'namespace' AND name = :namespace)
    OR (kind = 'organisation' AND name = :organisation)
