"""secrets and certificates

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-27 03:20:00

"""
from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('secret',
    sa.Column('environment_id', sa.String(length=32), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('variable', sa.String(length=120), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('key_id', sa.String(length=16), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['environment_id'], ['environment.id'], name=op.f('fk_secret_environment_id_environment'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('environment_id', 'name', name=op.f('pk_secret')),
    sa.UniqueConstraint('environment_id', 'variable', name=op.f('uq_secret_environment_id_variable'))
    )
    op.create_table('certificate',
    sa.Column('environment_id', sa.String(length=32), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('filename', sa.String(length=100), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('key_id', sa.String(length=16), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['environment_id'], ['environment.id'], name=op.f('fk_certificate_environment_id_environment'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('environment_id', 'name', name=op.f('pk_certificate'))
    )
    op.create_table('last_assembled',
    sa.Column('pipeline_id', sa.String(length=32), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('assembled_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('key_id', sa.String(length=16), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['pipeline_id', 'version'], ['pipeline_version.pipeline_id', 'pipeline_version.version'], name=op.f('fk_last_assembled_pipeline_id_version_pipeline_version'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('pipeline_id', 'version', name=op.f('pk_last_assembled'))
    )
    # Versions of the release before name nothing: a deploy refused what did.
    op.add_column('pipeline_version', sa.Column('reference_names', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), server_default='{}', nullable=False))


def downgrade():
    op.drop_column('pipeline_version', 'reference_names')
    op.drop_table('last_assembled')
    op.drop_table('certificate')
    op.drop_table('secret')
