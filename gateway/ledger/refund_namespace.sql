-- Give a charge back to the unit namespace of its dataset; only one that is still reserved.
UPDATE namespaces
SET spent_rho_units = spent_rho_units - (SELECT rho_units FROM charges WHERE job = :job AND state = 'reserved'),
    spent_delta0_units = spent_delta0_units
        - (SELECT delta0_units FROM charges WHERE job = :job AND state = 'reserved')
WHERE unit_namespace = (
    SELECT budgets.unit_namespace
    FROM charges JOIN budgets ON budgets.dataset = charges.dataset
    WHERE charges.job = :job AND charges.state = 'reserved'
)
