"""the whole fleet by name, and the audit log by who, what and about what

Revision ID: 0007
Revises: 0006
Create Date: 2026-11-27 05:30:00.000000

"""
from alembic import op


# revision identifiers, used by Alembic.
revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table('node', schema=None) as batch_op:
        batch_op.create_index('ix_node_name_id', ['name', 'id'])
    with op.batch_alter_table('audit_entry', schema=None) as batch_op:
        batch_op.create_index('ix_audit_entry_actor_id', ['actor', 'id'])
        batch_op.create_index('ix_audit_entry_action_id', ['action', 'id'])
        batch_op.create_index('ix_audit_entry_subject_id_id', ['subject_id', 'id'])


def downgrade():
    with op.batch_alter_table('audit_entry', schema=None) as batch_op:
        batch_op.drop_index('ix_audit_entry_subject_id_id')
        batch_op.drop_index('ix_audit_entry_action_id')
        batch_op.drop_index('ix_audit_entry_actor_id')
    with op.batch_alter_table('node', schema=None) as batch_op:
        batch_op.drop_index('ix_node_name_id')
