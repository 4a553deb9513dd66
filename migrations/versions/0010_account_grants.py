"""roles of accounts in single environments; disabled accounts

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-27 12:50:00.000000

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        'account_grant',
        sa.Column('account_id', sa.String(length=32), nullable=False),
        sa.Column('environment_id', sa.String(length=32), nullable=False),
        sa.Column('role', sa.String(length=10), nullable=False),
        sa.ForeignKeyConstraint(
            ['account_id'], ['account.id'],
            name=op.f('fk_account_grant_account_id_account'), ondelete='CASCADE',
        ),
        sa.ForeignKeyConstraint(
            ['environment_id'], ['environment.id'],
            name=op.f('fk_account_grant_environment_id_environment'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('account_id', 'environment_id', name=op.f('pk_account_grant')),
    )
    op.create_index('ix_account_grant_environment_id', 'account_grant', ['environment_id'])
    # Not in a batch: SQLite would copy the table, and delete what hangs on it.
    op.add_column('account', sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True))


def downgrade():
    op.drop_column('account', 'disabled_at')
    op.drop_table('account_grant')
