-- What is spent under an agreement, and how often it was used.
SELECT accounts.limit_rho_units, accounts.spent_rho_units, agreements.uses
FROM agreements JOIN accounts ON accounts.kind = 'agreement' AND accounts.name = agreements.agreement
WHERE agreements.agreement = :agreement
