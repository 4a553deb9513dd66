"""requests to deploy in protected environments; who made an API token and whether it may approve

Revision ID: 0015
Revises: 0014
Create Date: 2026-11-27 13:00:00.000000

"""
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


# revision identifiers, used by Alembic.
revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')
open_ = sa.text("state = 'open'")


def upgrade():
    op.create_table(
        'deploy_request',
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('pipeline_id', sa.String(length=32), nullable=False),
        sa.Column('environment_id', sa.String(length=32), nullable=False),
        sa.Column('kind', sa.String(length=10), nullable=False),
        sa.Column('config_yaml', sa.Text(), nullable=False),
        sa.Column('node_selector', sa.Text(), nullable=False),
        sa.Column('log_level', sa.String(length=10), nullable=True),
        sa.Column('changelog', sa.Text(), nullable=True),
        sa.Column('from_version', sa.Integer(), nullable=True),
        sa.Column('base_version', sa.Integer(), nullable=True),
        sa.Column('checksum', sa.String(length=64), nullable=False),
        sa.Column('targets', json, nullable=False),
        sa.Column('target_count', sa.Integer(), nullable=False),
        sa.Column('targets_checksum', sa.String(length=64), nullable=False),
        sa.Column('asked_by', sa.String(length=253), nullable=False),
        sa.Column('asker', sa.String(length=40), nullable=False),
        sa.Column('asked_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('state', sa.String(length=10), nullable=False),
        sa.Column('decided_by', sa.String(length=253), nullable=True),
        sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('comment', sa.Text(), nullable=True),
        sa.Column('deployment_id', sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ['pipeline_id'], ['pipeline.id'],
            name=op.f('fk_deploy_request_pipeline_id_pipeline'), ondelete='CASCADE',
        ),
        sa.ForeignKeyConstraint(
            ['environment_id'], ['environment.id'],
            name=op.f('fk_deploy_request_environment_id_environment'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_deploy_request')),
    )
    op.create_index('ix_deploy_request_pipeline_id_id', 'deploy_request', ['pipeline_id', 'id'])
    op.create_index(
        'ix_deploy_request_open', 'deploy_request', ['environment_id', 'pipeline_id'],
        sqlite_where=open_, postgresql_where=open_,
    )
    op.add_column('api_token', sa.Column('created_by', sa.String(length=253), nullable=True))
    op.add_column('api_token', sa.Column('counts_as', sa.String(length=40), nullable=True))
    op.add_column(
        'api_token', sa.Column('may_approve', sa.Boolean(), server_default=sa.false(), nullable=False)
    )


def downgrade():
    for name in ('may_approve', 'counts_as', 'created_by'):
        op.drop_column('api_token', name)
    op.drop_table('deploy_request')
