"""Agreements, and which one a job was asked under

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their table; jobs of before were asked under none."""
    op.create_table(
        "agreements",
        sa.Column("agreement", sa.String(63), primary_key=True),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("uses", sa.BigInteger, nullable=False),
        sa.Column("max_uses", sa.BigInteger),
        sa.Column("registered", sa.Float, nullable=False),
        sa.CheckConstraint("uses >= 0 AND (max_uses IS NULL OR uses <= max_uses)", name="uses_are_within_their_limit"),
    )
    op.add_column("jobs", sa.Column("agreement", sa.String(63), nullable=False, server_default=""))


def downgrade() -> None:
    """Refused: an older gateway would let jobs run beyond their agreement without a word."""
    raise RuntimeError("A database with agreements does not go back to a gateway without them.")
