"""Notices for operators, and operating agreements

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their tables. Operators of before are taken over when the gateway starts: see `operators.begin`."""
    op.create_table(
        "operator_notices",
        sa.Column("notice", sa.String(63), primary_key=True),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("published", sa.Float, nullable=False),
    )
    op.create_table(
        "operating_agreements",
        sa.Column("notice", sa.String(63), sa.ForeignKey("operator_notices.notice"), primary_key=True),
        sa.Column("operator", sa.String(63), sa.ForeignKey("organisations.organisation"), primary_key=True),
        sa.Column("terms", sa.LargeBinary, nullable=False),
        sa.Column("applied", sa.Float, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "operating_events",
        sa.Column("notice", sa.String(63), primary_key=True),
        sa.Column("operator", sa.String(63), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["notice", "operator"],
            ["operating_agreements.notice", "operating_agreements.operator"],
            name="of_an_agreement",
        ),
    )


def downgrade() -> None:
    """Refused: an older gateway would let operators go on whose agreement ended, or was never signed."""
    raise RuntimeError("A database with operating agreements does not go back to a gateway without them.")
