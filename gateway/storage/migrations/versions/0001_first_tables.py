"""First tables

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Zones, datasets, budgets, jobs, charges, releases."""
    op.create_table("zones", sa.Column("zone", sa.String(63), primary_key=True))
    op.create_table(
        "datasets",
        sa.Column("dataset", sa.String(63), primary_key=True),
        sa.Column("zone", sa.String(63), sa.ForeignKey("zones.zone"), nullable=False),
        sa.Column("version", sa.LargeBinary(32), nullable=False),
        sa.Column("declaration", sa.LargeBinary, nullable=False),
        sa.Column("registration", sa.LargeBinary, nullable=False),
        sa.Column("registered", sa.Float, nullable=False),
    )
    op.create_table(
        "budgets",
        sa.Column("dataset", sa.String(63), primary_key=True),
        sa.Column("unit_namespace", sa.String(63), nullable=False),
        sa.Column("limit_rho_units", sa.BigInteger, nullable=False),
        sa.Column("spent_rho_units", sa.BigInteger, nullable=False),
        sa.CheckConstraint("spent_rho_units >= 0", name="spent_is_positive"),
    )
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job", sa.String(64), nullable=False, unique=True),
        sa.Column("developer", sa.String(63), nullable=False),
        sa.Column("request_id", sa.String(200), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("sql", sa.Text, nullable=False),
        sa.Column("plan", sa.LargeBinary, nullable=False),
        sa.Column("plan_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("authorization", sa.LargeBinary, nullable=False),
        sa.Column("registration", sa.LargeBinary, nullable=False),
        sa.Column("approval", sa.LargeBinary),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("failure", sa.LargeBinary),
        sa.Column("replayed", sa.Integer, nullable=False),
        sa.UniqueConstraint("developer", "request_id", name="one_job_a_request"),
    )
    op.create_table(
        "charges",
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("dataset", sa.String(63), sa.ForeignKey("budgets.dataset"), nullable=False),
        sa.Column("rho_units", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.CheckConstraint("rho_units > 0", name="charge_is_positive"),
    )
    op.create_table(
        "releases",
        sa.Column("plan_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), nullable=False),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
        sa.Column("released", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drop everything."""
    for table in ("releases", "charges", "jobs", "budgets", "datasets", "zones"):
        op.drop_table(table)
