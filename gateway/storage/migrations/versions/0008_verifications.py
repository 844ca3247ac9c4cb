"""Uses of verification: who asked which dataset when, and what it costs

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their table; there were none."""
    op.create_table(
        "verifications",
        sa.Column("consent", sa.LargeBinary(32), primary_key=True),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("developer", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("node", sa.String(63), nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("used", sa.Float, nullable=False),
        sa.CheckConstraint("price >= 0", name="price_is_not_negative"),
    )
    op.create_index("verifications_of_a_day", "verifications", ["dataset", "developer", "used"])


def downgrade() -> None:
    """What was used is forgotten, and owed no more."""
    op.drop_table("verifications")
