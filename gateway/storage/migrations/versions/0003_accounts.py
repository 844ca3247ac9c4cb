"""One table of accounts for all budgets, and those of organisations

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Whoever asked before organisations were known is an organisation of its own. Nothing limited it but the dataset.
_ACCOUNTS = """
INSERT INTO accounts (kind, name, limit_rho_units, spent_rho_units, limit_delta0_units, spent_delta0_units)
SELECT 'dataset', dataset, limit_rho_units, spent_rho_units, limit_delta0_units, spent_delta0_units FROM budgets
UNION ALL
SELECT 'namespace', unit_namespace, limit_rho_units, spent_rho_units, limit_delta0_units, spent_delta0_units
FROM namespaces
UNION ALL
SELECT 'organisation', budgets.dataset || '/' || jobs.developer, MAX(budgets.limit_rho_units),
    SUM(CASE charges.state WHEN 'refunded' THEN 0 ELSE charges.rho_units END),
    MAX(budgets.limit_delta0_units),
    SUM(CASE charges.state WHEN 'refunded' THEN 0 ELSE charges.delta0_units END)
FROM charges
JOIN budgets ON budgets.dataset = charges.dataset
JOIN jobs ON jobs.job = charges.job
GROUP BY budgets.dataset, jobs.developer
"""

_CHARGES = """
INSERT INTO new_charges (job, kind, name, rho_units, delta0_units, state)
SELECT charges.job, charged.kind, charged.name, charges.rho_units, charges.delta0_units, charges.state
FROM charges
JOIN (
    SELECT charges.job, 'dataset' AS kind, charges.dataset AS name FROM charges
    UNION ALL
    SELECT charges.job, 'namespace', budgets.unit_namespace
    FROM charges JOIN budgets ON budgets.dataset = charges.dataset
    UNION ALL
    SELECT charges.job, 'organisation', charges.dataset || '/' || jobs.developer
    FROM charges JOIN jobs ON jobs.job = charges.job
) AS charged ON charged.job = charges.job
"""


def upgrade() -> None:
    """Move budgets, namespaces and charges into accounts."""
    op.add_column("jobs", sa.Column("organisation", sa.String(63), nullable=False, server_default=""))
    op.execute("UPDATE jobs SET organisation = developer")
    op.create_table(
        "accounts",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(127), primary_key=True),
        *_amounts(),
        sa.CheckConstraint("spent_rho_units >= 0 AND spent_delta0_units >= 0", name="spent_is_not_negative"),
    )
    op.create_table(
        "new_charges",
        sa.Column(
            "job", sa.String(64), sa.ForeignKey("jobs.job", deferrable=True, initially="DEFERRED"), primary_key=True
        ),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(127), primary_key=True),
        sa.Column("rho_units", sa.BigInteger, nullable=False),
        sa.Column("delta0_units", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.ForeignKeyConstraint(["kind", "name"], ["accounts.kind", "accounts.name"]),
        sa.CheckConstraint("rho_units > 0", name="charge_is_positive"),
    )
    op.execute(_ACCOUNTS)
    op.execute(_CHARGES)
    for table in ("charges", "budgets", "namespaces"):
        op.drop_table(table)
    op.rename_table("new_charges", "charges")


def downgrade() -> None:
    """Refused: an older gateway would drop the limits of organisations without a word."""
    raise RuntimeError("A database with budgets of organisations does not go back to a gateway without them.")


def _amounts() -> list[sa.Column[int]]:
    names = ("limit_rho_units", "spent_rho_units", "limit_delta0_units", "spent_delta0_units")
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
