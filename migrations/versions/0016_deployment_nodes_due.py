"""deployments whose nodes are told before the nodes' rows are made

Revision ID: 0016
Revises: 0015
Create Date: 2026-11-27 16:30:00.000000

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None

due = sa.text('nodes_due IS NOT NULL')


def upgrade():
    op.add_column('deployment', sa.Column('nodes_due', sa.Text(), nullable=True))
    if op.get_bind().dialect.name == 'postgresql':
        # Written and emptied within a second: compressing it would take longer than all else that a deploy writes.
        op.execute('ALTER TABLE deployment ALTER COLUMN nodes_due SET STORAGE EXTERNAL')
    op.create_index(
        'ix_deployment_nodes_due', 'deployment', ['environment_id'], sqlite_where=due, postgresql_where=due
    )


def downgrade():
    # Rows that are still due: a release from before knows no other place for them.
    if op.get_bind().dialect.name == 'sqlite':
        ids = """json_each('["' || replace(deployment.nodes_due, ',', '","') || '"]') AS due"""
        due_id = 'due.value'
    else:
        ids = "unnest(string_to_array(deployment.nodes_due, ',')) AS due (id)"
        due_id = 'due.id'
    op.execute(
        'INSERT INTO deployment_node (deployment_id, node_id, status)'
        f" SELECT deployment.id, node.id, 'PENDING' FROM deployment, {ids}, node"
        f' WHERE deployment.nodes_due IS NOT NULL AND node.id = {due_id}'
        ' AND node.environment_id = deployment.environment_id'
    )
    op.drop_index('ix_deployment_nodes_due', table_name='deployment')
    # Not as a batch: SQLite would copy the table, and dropping the old one would take the nodes' rows with it.
    op.drop_column('deployment', 'nodes_due')
