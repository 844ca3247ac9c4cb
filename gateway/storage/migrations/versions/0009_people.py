"""Organisations, their people, invitations and tokens

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their tables; the accounts of the gateway's file are filed when it starts."""
    op.create_table(
        "organisations",
        sa.Column("organisation", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary(32), nullable=False),
        sa.Column("filed", sa.Float, nullable=False),
        sa.Column("left", sa.Float),
    )
    op.create_table(
        "people",
        sa.Column("person", sa.String(63), primary_key=True),
        sa.Column("organisation", sa.String(63), sa.ForeignKey("organisations.organisation"), nullable=False),
        sa.Column("real_name", sa.Text, nullable=False),
        sa.Column("duties", sa.Text, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("key", sa.LargeBinary(32), unique=True),
        sa.Column("certificate", sa.LargeBinary),
        sa.Column("filed", sa.Float, nullable=False),
        sa.Column("left", sa.Float),
    )
    op.create_table(
        "invitations",
        sa.Column("invitation_key", sa.LargeBinary(32), primary_key=True),
        sa.Column("person", sa.String(63), sa.ForeignKey("people.person"), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("filed", sa.Float, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(32), primary_key=True),
        sa.Column("person", sa.String(63), sa.ForeignKey("people.person"), nullable=False),
        sa.Column("bearer_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("label", sa.String(127), nullable=False),
        sa.Column("scopes", sa.Text),
        sa.Column("session", sa.Integer, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float),
        sa.Column("last_used", sa.Float),
        sa.Column("revoked", sa.Float),
    )


def downgrade() -> None:
    """Who was invited is forgotten; the accounts of the gateway's file stay."""
    for table in ("tokens", "invitations", "people", "organisations"):
        op.drop_table(table)
