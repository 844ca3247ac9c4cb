"""Privacy budgets and what jobs were charged: never overspent, never lost."""
