"""history: metrics in blocks, push channels that ended

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-27 06:05:00.000000

"""
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('metrics_block',
    sa.Column('node_id', sa.String(length=32), nullable=False),
    sa.Column('level', sa.Integer(), nullable=False),
    sa.Column('start', sa.BigInteger(), nullable=False),
    sa.Column('points', sa.LargeBinary(), nullable=False),
    sa.Column('latest', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), nullable=True),
    sa.Column('is_rolled_up', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['node_id'], ['node.id'], name=op.f('fk_metrics_block_node_id_node'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('node_id', 'level', 'start', name=op.f('pk_metrics_block'))
    )
    with op.batch_alter_table('metrics_block', schema=None) as batch_op:
        batch_op.create_index('ix_metrics_block_fresh', ['level', 'start'], unique=False, sqlite_where=sa.text('is_rolled_up IS 0'), postgresql_where=sa.text('is_rolled_up IS false'))
        batch_op.create_index('ix_metrics_block_level_start', ['level', 'start'], unique=False)

    op.create_table('channel_span',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('node_id', sa.String(length=32), nullable=False),
    sa.Column('transport', sa.String(length=3), nullable=False),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('worker', sa.String(length=253), nullable=False),
    sa.Column('address', sa.String(length=100), nullable=False),
    sa.ForeignKeyConstraint(['node_id'], ['node.id'], name=op.f('fk_channel_span_node_id_node'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_channel_span'))
    )
    with op.batch_alter_table('channel_span', schema=None) as batch_op:
        batch_op.create_index('ix_channel_span_ended_at', ['ended_at'], unique=False)
        batch_op.create_index('ix_channel_span_node_id_id', ['node_id', 'id'], unique=False)


def downgrade():
    op.drop_table('channel_span')
    op.drop_table('metrics_block')
