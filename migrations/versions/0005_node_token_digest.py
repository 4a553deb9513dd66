"""nodes are found by their token's digest, too

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-27 03:40:00.000000

"""
from alembic import op


# revision identifiers, used by Alembic.
revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table('node', schema=None) as batch_op:
        batch_op.create_index('ix_node_token_digest', ['token_digest'], unique=True)


def downgrade():
    with op.batch_alter_table('node', schema=None) as batch_op:
        batch_op.drop_index('ix_node_token_digest')
