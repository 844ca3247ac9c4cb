"""The life of agreements: states, signatures, events, and uses by day

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ACTIVE = "5"


def upgrade() -> None:
    """Agreements of before were registered at once, and are active; of how they came to be nothing is known."""
    op.add_column("agreements", sa.Column("state", sa.Integer, nullable=False, server_default=ACTIVE))
    op.add_column("agreements", sa.Column("signed", sa.LargeBinary, nullable=False, server_default=sa.text("x''")))
    op.create_table(
        "agreement_events",
        sa.Column("agreement", sa.String(63), sa.ForeignKey("agreements.agreement"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
    )
    op.create_table(
        "agreement_days",
        sa.Column("agreement", sa.String(63), sa.ForeignKey("agreements.agreement"), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("uses", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Refused: an older gateway would let jobs run under agreements that are suspended, or were never signed."""
    raise RuntimeError("A database with the life of agreements does not go back to a gateway without it.")
