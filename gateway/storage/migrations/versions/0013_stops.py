"""Stops, and what nodes signed of them

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Their tables."""
    op.create_table(
        "stops",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("scope", sa.Integer, nullable=False),
        sa.Column("subject", sa.String(127), nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("jobs", sa.Text, nullable=False),
        sa.Column("lift", sa.LargeBinary),
        sa.Column("lifted", sa.Float),
        sa.Column("lifted_by", sa.String(63)),
    )
    op.create_index("stops_of_a_subject", "stops", ["subject"])
    op.create_table(
        "stop_proofs",
        sa.Column("stop", sa.Integer, sa.ForeignKey("stops.number"), primary_key=True),
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("proof", sa.LargeBinary),
        sa.Column("lift_proof", sa.LargeBinary),
        sa.Column("refusal", sa.Text, nullable=False, server_default=""),
    )


def downgrade() -> None:
    """What was stopped is forgotten here; nodes keep it."""
    op.drop_table("stop_proofs")
    op.drop_table("stops")
