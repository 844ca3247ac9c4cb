-- A dataset's budget, and that of its unit namespace.
SELECT
    budgets.limit_rho_units,
    budgets.spent_rho_units,
    namespaces.unit_namespace,
    namespaces.limit_rho_units AS shared_limit,
    namespaces.spent_rho_units AS shared_spent
FROM budgets JOIN namespaces ON namespaces.unit_namespace = budgets.unit_namespace
WHERE budgets.dataset = :dataset
