"""Passkeys and secrets of codes, by which people sign in to the console

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their tables; nobody could sign in before."""
    op.create_table(
        "passkeys",
        sa.Column("credential_id", sa.LargeBinary, primary_key=True),
        sa.Column("person", sa.String(63), sa.ForeignKey("people.person"), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("label", sa.String(127), nullable=False),
        sa.Column("added", sa.Float, nullable=False),
    )
    op.create_table(
        "totps",
        sa.Column("person", sa.String(63), sa.ForeignKey("people.person"), primary_key=True),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("added", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Nobody can sign in any more; tokens stay."""
    op.drop_table("totps")
    op.drop_table("passkeys")
