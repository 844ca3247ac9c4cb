"""Approvals: several organisations' yes to one job

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their table, and what finds jobs that wait. A job that was approved before has begun already."""
    op.create_table(
        "approvals",
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("organisation", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("asked_by", sa.String(63), nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
        sa.Column("approved", sa.Float, nullable=False),
        sa.CheckConstraint("organisation <> asked_by", name="nobody_approves_their_own"),
        sa.UniqueConstraint("job", "kind", name="one_approval_a_kind"),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "number"])
    op.create_index("jobs_by_dataset", "jobs", ["dataset", "number"])


def downgrade() -> None:
    """Jobs that wait for a second approval wait for the first again."""
    op.drop_index("jobs_by_dataset", "jobs")
    op.drop_index("jobs_by_state", "jobs")
    op.drop_table("approvals")
