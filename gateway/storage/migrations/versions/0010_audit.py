"""The audit record

Jobs of before it get a row each that says in which state they were then.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from gateway.storage import audit

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Its table, which only grows."""
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_millis", sa.BigInteger, nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("organisation", sa.String(63), nullable=False),
        sa.Column("action", sa.String(63), nullable=False),
        sa.Column("subject", sa.String(127), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("audit_of_a_subject", "audit", ["subject"])
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit"
            " BEGIN SELECT RAISE(ABORT, 'the audit record only grows'); END"
        )
    _adopt(op.get_bind())


def _adopt(connection: sa.Connection) -> None:
    rows = connection.execute(sa.text("SELECT job, state FROM jobs ORDER BY number")).all()
    for job, state in rows:
        audit.append(connection, "job.state", job, details={"state": state, "adopted": True})


def downgrade() -> None:
    """What was done is forgotten."""
    op.drop_table("audit")
