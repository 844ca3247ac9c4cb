"""Deployed models, and the orders to predict with them

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their tables; there were none before."""
    op.create_table(
        "deployments",
        sa.Column("deployment", sa.String(63), primary_key=True),
        sa.Column("developer", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("sealed_model", sa.LargeBinary, nullable=False),
        sa.Column("provenance", sa.LargeBinary, nullable=False),
        sa.Column("approval", sa.LargeBinary),
        sa.Column("withdrawal", sa.LargeBinary),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("enclave_told", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "predictions",
        sa.Column("order_digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("deployment", sa.String(63), sa.ForeignKey("deployments.deployment"), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("caller", sa.String(63), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("price_micros", sa.BigInteger, nullable=False),
        sa.Column("counted", sa.BigInteger, nullable=False),
        sa.CheckConstraint("rows >= 0 AND price_micros >= 0", name="uses_are_not_negative"),
    )


def downgrade() -> None:
    """Without them, nothing deployed can be used, and what was used is forgotten."""
    op.drop_table("predictions")
    op.drop_table("deployments")
