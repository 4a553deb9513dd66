"""who accounts are at an OpenID Connect provider; codes for the way back in

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        'account_identity',
        sa.Column('issuer', sa.String(length=500), nullable=False),
        sa.Column('subject', sa.String(length=255), nullable=False),
        sa.Column('account_id', sa.String(length=32), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['account_id'], ['account.id'],
            name=op.f('fk_account_identity_account_id_account'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('issuer', 'subject', name=op.f('pk_account_identity')),
    )
    op.create_index('ix_account_identity_account_id', 'account_identity', ['account_id'])
    op.create_table(
        'recovery_code',
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('account_id', sa.String(length=32), nullable=False),
        sa.Column('digest', sa.String(length=64), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['account_id'], ['account.id'],
            name=op.f('fk_recovery_code_account_id_account'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_recovery_code')),
    )
    op.create_index('ix_recovery_code_account_id', 'recovery_code', ['account_id'])


def downgrade():
    op.drop_table('recovery_code')
    op.drop_table('account_identity')
