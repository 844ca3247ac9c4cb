"""Standing approvals, and the jobs that were charged under them

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their tables; every job was approved by itself before."""
    op.create_table(
        "standing_approvals",
        sa.Column("standing", sa.String(64), primary_key=True),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("agreement", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("asked_by", sa.String(63), nullable=False),
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
        sa.Column("given", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
        sa.Column("jobs", sa.BigInteger, nullable=False),
        sa.Column("max_jobs", sa.BigInteger, nullable=False),
        sa.Column("rho_units", sa.BigInteger, nullable=False),
        sa.Column("max_rho_units", sa.BigInteger, nullable=False),
        sa.CheckConstraint("organisation <> asked_by", name="nobody_approves_their_own"),
        sa.CheckConstraint("jobs <= max_jobs AND rho_units <= max_rho_units", name="uses_are_within_their_limits"),
    )
    op.create_index("standing_of_a_dataset", "standing_approvals", ["dataset", "asked_by"])
    op.create_table(
        "standing_uses",
        sa.Column("standing", sa.String(64), sa.ForeignKey("standing_approvals.standing"), primary_key=True),
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("phase", sa.String(80), nullable=False),
    )


def downgrade() -> None:
    """Every job is approved by itself again."""
    op.drop_table("standing_uses")
    op.drop_index("standing_of_a_dataset", "standing_approvals")
    op.drop_table("standing_approvals")
