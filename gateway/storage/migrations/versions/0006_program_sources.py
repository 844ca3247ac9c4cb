"""Sources of programs that their developers show; no sealed program of a job that ended

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Succeeded, failed, refused, cancelled: as `JobState` had them when this was written.
ENDED = (5, 6, 7, 8)


def upgrade() -> None:
    """Their table, and what nothing can need any more goes."""
    op.create_table(
        "program_sources",
        sa.Column("job", sa.String(64), sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("source", sa.LargeBinary, nullable=False),
    )
    jobs = sa.table("jobs", sa.column("job"), sa.column("state"))
    programs = sa.table("programs", sa.column("job"))
    ended = sa.select(jobs.c.job).where(jobs.c.state.in_(ENDED))
    op.execute(sa.delete(programs).where(programs.c.job.in_(ended)))


def downgrade() -> None:
    """Without it, nobody can be shown a program."""
    op.drop_table("program_sources")
