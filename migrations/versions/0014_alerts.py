"""alert rules, alerts, and the rates that they look at

Revision ID: 0014
Revises: 0013
Create Date: 2026-11-27 13:00:00.000000

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None

open_ = sa.text("state <> 'RESOLVED'")
firing = sa.text("state = 'FIRING'")


def upgrade():
    op.create_table(
        'alert_rule',
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('environment_id', sa.String(length=32), nullable=True),
        sa.Column('pipeline_id', sa.String(length=32), nullable=True),
        sa.Column('name', sa.String(length=100), nullable=False),
        sa.Column('kind', sa.String(length=30), nullable=False),
        sa.Column('threshold', sa.Float(), nullable=True),
        sa.Column('for_seconds', sa.Integer(), nullable=False),
        sa.Column('clear_seconds', sa.Integer(), nullable=False),
        sa.Column('node_selector', sa.String(length=4096), nullable=False),
        sa.Column('severity', sa.String(length=10), nullable=False),
        sa.Column('is_enabled', sa.Boolean(), nullable=False),
        sa.Column('revision', sa.Integer(), nullable=False),
        sa.Column('problem', sa.Text(), nullable=True),
        sa.Column('problem_since', sa.DateTime(timezone=True), nullable=True),
        sa.Column('evaluated_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('created_by', sa.String(length=253), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['environment_id'], ['environment.id'],
            name=op.f('fk_alert_rule_environment_id_environment'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_alert_rule')),
    )
    op.create_table(
        'alert',
        sa.Column('id', sa.String(length=32), nullable=False),
        sa.Column('rule_id', sa.String(length=32), nullable=False),
        sa.Column('environment_id', sa.String(length=32), nullable=False),
        sa.Column('rule_name', sa.String(length=100), nullable=False),
        sa.Column('kind', sa.String(length=30), nullable=False),
        sa.Column('severity', sa.String(length=10), nullable=False),
        sa.Column('subject', sa.String(length=140), nullable=False),
        sa.Column('node_id', sa.String(length=32), nullable=True),
        sa.Column('node_name', sa.String(length=253), nullable=True),
        sa.Column('pipeline_id', sa.String(length=32), nullable=True),
        sa.Column('pipeline_name', sa.String(length=100), nullable=True),
        sa.Column('certificate', sa.String(length=100), nullable=True),
        sa.Column('state', sa.String(length=10), nullable=False),
        sa.Column('since', sa.DateTime(timezone=True), nullable=False),
        sa.Column('clear_since', sa.DateTime(timezone=True), nullable=True),
        sa.Column('fired_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('resolved_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('resolved_reason', sa.String(length=30), nullable=True),
        sa.Column('value', sa.Float(), nullable=True),
        sa.Column('text', sa.Text(), nullable=False),
        sa.Column('acknowledged_by', sa.String(length=253), nullable=True),
        sa.Column('acknowledged_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ['environment_id'], ['environment.id'],
            name=op.f('fk_alert_environment_id_environment'), ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_alert')),
    )
    op.create_index(
        'uq_alert_open', 'alert', ['rule_id', 'subject'], unique=True,
        sqlite_where=open_, postgresql_where=open_,
    )
    op.create_index('ix_alert_rule_id', 'alert', ['rule_id'])
    op.create_index('ix_alert_state_id', 'alert', ['state', 'id'])
    op.create_index('ix_alert_environment_id_id', 'alert', ['environment_id', 'id'])
    op.create_index('ix_alert_node', 'alert', ['node_id'], sqlite_where=firing, postgresql_where=firing)
    op.create_index(
        'ix_alert_pipeline', 'alert', ['pipeline_id'], sqlite_where=firing, postgresql_where=firing
    )
    # SQLite keeps a row's columns in a chain of pages: what rules look at must not stand behind a node's log lines.
    is_sqlite = op.get_bind().dialect.name == 'sqlite'
    with op.batch_alter_table('node_pipeline', recreate='always' if is_sqlite else 'never') as batch_op:
        for before, name in (('events_out_rate', 'errors_rate'), ('errors_rate', 'discarded_rate')):
            more = {'insert_after': before} if is_sqlite else {}
            batch_op.add_column(sa.Column(name, sa.Float(), nullable=True), **more)


def downgrade():
    with op.batch_alter_table('node_pipeline', schema=None) as batch_op:
        batch_op.drop_column('discarded_rate')
        batch_op.drop_column('errors_rate')
    op.drop_table('alert')
    op.drop_table('alert_rule')
