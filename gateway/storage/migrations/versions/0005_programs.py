"""Programs of jobs, sealed to the nodes' enclaves

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their table; no job of before has a program."""
    op.create_table(
        "programs",
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Without it, jobs with programs cannot be run."""
    op.drop_table("programs")
