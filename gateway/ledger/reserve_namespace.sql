-- Take an amount from the budget of a dataset's unit namespace, or change nothing where it does not fit.
UPDATE namespaces
SET spent_rho_units = spent_rho_units + :rho_units, spent_delta0_units = spent_delta0_units + :delta0_units
WHERE unit_namespace = (SELECT unit_namespace FROM budgets WHERE dataset = :dataset)
    AND spent_rho_units + :rho_units <= limit_rho_units
    AND spent_delta0_units + :delta0_units <= limit_delta0_units
