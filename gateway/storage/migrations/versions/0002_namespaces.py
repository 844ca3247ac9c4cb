"""Budgets of unit namespaces, and what key selection takes of delta

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A namespace's limit is the budget of the dataset that was registered first: SQLite numbers rows as they come.
_FROM_BUDGETS = """
INSERT INTO namespaces (unit_namespace, limit_rho_units, spent_rho_units)
SELECT shared.unit_namespace,
    (SELECT limit_rho_units FROM budgets WHERE unit_namespace = shared.unit_namespace ORDER BY rowid LIMIT 1),
    SUM(shared.spent_rho_units)
FROM budgets AS shared
GROUP BY shared.unit_namespace
"""


def upgrade() -> None:
    """One budget for all datasets of a namespace, with what they spent before."""
    op.create_table(
        "namespaces",
        sa.Column("unit_namespace", sa.String(63), primary_key=True),
        sa.Column("limit_rho_units", sa.BigInteger, nullable=False),
        sa.Column("spent_rho_units", sa.BigInteger, nullable=False),
        *_delta0_columns(),
        sa.CheckConstraint("spent_rho_units >= 0", name="namespace_spent_is_positive"),
    )
    op.execute(_FROM_BUDGETS)
    # Budgets of before kept no part of their delta, so no keys are selected with them.
    for column in _delta0_columns():
        op.add_column("budgets", column)
    op.add_column("charges", sa.Column("delta0_units", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    """Back to a budget for each dataset."""
    op.drop_table("namespaces")
    for column in _delta0_columns():
        op.drop_column("budgets", column.name)
    op.drop_column("charges", "delta0_units")


def _delta0_columns() -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        for name in ("limit_delta0_units", "spent_delta0_units")
    ]
