"""Until when what a link opens lasts

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Links of before are over within minutes."""
    op.add_column("tokens", sa.Column("opens_until", sa.Float))


def downgrade() -> None:
    """Without it."""
    op.drop_column("tokens", "opens_until")
