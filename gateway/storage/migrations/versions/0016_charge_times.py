"""When each charge was made

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Charges of before have no time of their own: the record tells it."""
    op.add_column("charges", sa.Column("charged", sa.Float))


def downgrade() -> None:
    """The record tells it of all."""
    op.drop_column("charges", "charged")
