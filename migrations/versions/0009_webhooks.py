"""webhooks, what the watch has told of, and leases

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-27 11:00:00.000000

"""
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


# revision identifiers, used by Alembic.
revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')
pending = sa.text("status = 'PENDING'")
open_ = sa.text('finished_at IS NULL')


def upgrade():
    op.create_table(
        'webhook',
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('environment_id', sa.String(length=32), nullable=True),
        sa.Column('name', sa.String(length=100), nullable=False),
        sa.Column('url', sa.String(length=2000), nullable=False),
        sa.Column('events', json, nullable=False),
        sa.Column('is_enabled', sa.Boolean(), nullable=False),
        sa.Column('disabled_reason', sa.Text(), nullable=True),
        sa.Column('created_by', sa.String(length=253), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('key_id', sa.String(length=16), nullable=False),
        sa.Column('data', sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ['environment_id'], ['environment.id'],
            name=op.f('fk_webhook_environment_id_environment'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook')),
    )
    op.create_table(
        'webhook_delivery',
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('webhook_id', sa.String(length=32), nullable=False),
        sa.Column('event', sa.String(length=40), nullable=False),
        sa.Column('payload', json, nullable=False),
        sa.Column('status', sa.String(length=10), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('last_status', sa.Integer(), nullable=True),
        sa.Column('last_error', sa.Text(), nullable=True),
        sa.Column('last_milliseconds', sa.Integer(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ['webhook_id'], ['webhook.id'],
            name=op.f('fk_webhook_delivery_webhook_id_webhook'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_delivery')),
    )
    op.create_index('ix_webhook_delivery_webhook_id_id', 'webhook_delivery', ['webhook_id', 'id'])
    op.create_index(
        'ix_webhook_delivery_due', 'webhook_delivery', ['next_attempt_at'],
        sqlite_where=pending, postgresql_where=pending,
    )
    op.create_table(
        'notice',
        sa.Column('kind', sa.String(length=40), nullable=False),
        sa.Column('subject', sa.String(length=100), nullable=False),
        sa.Column('node_id', sa.String(length=32), nullable=True),
        sa.Column('since', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['node_id'], ['node.id'], name=op.f('fk_notice_node_id_node'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('kind', 'subject', name=op.f('pk_notice')),
    )
    op.create_index('ix_notice_node_id', 'notice', ['node_id'])
    op.create_table(
        'lease',
        sa.Column('name', sa.String(length=40), nullable=False),
        sa.Column('holder', sa.String(length=64), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('unbroken_since', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_lease')),
    )
    op.add_column('deployment', sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True))
    # What happened before anybody was told of anything is over.
    op.execute('UPDATE deployment SET finished_at = created_at')
    op.create_index(
        'ix_deployment_open', 'deployment', ['id'], sqlite_where=open_, postgresql_where=open_
    )


def downgrade():
    op.drop_index('ix_deployment_open', table_name='deployment')
    with op.batch_alter_table('deployment', schema=None) as batch_op:
        batch_op.drop_column('finished_at')
    op.drop_table('lease')
    op.drop_table('notice')
    op.drop_table('webhook_delivery')
    op.drop_table('webhook')
