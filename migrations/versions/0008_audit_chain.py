"""the audit log becomes a chain, and append-only

Revision ID: 0008
Revises: 0007
Create Date: 2026-11-27 10:00:00.000000

"""
import hashlib
import json
from datetime import UTC

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


# revision identifiers, used by Alembic.
revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

CHUNK = 500
REFUSAL = 'audit entries are append-only'

entry = sa.table(
    'audit_entry',
    sa.column('id', sa.String),
    sa.column('at', sa.DateTime(timezone=True)),
    sa.column('actor', sa.String),
    sa.column('address', sa.String),
    sa.column('action', sa.String),
    sa.column('environment_id', sa.String),
    sa.column('subject_id', sa.String),
    sa.column('detail', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')),
    sa.column('sequence', sa.BigInteger),
    sa.column('hash', sa.String),
)
head = sa.table('audit_head', sa.column('id'), sa.column('sequence'), sa.column('hash'))


def upgrade():
    op.create_table(
        'audit_head',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('sequence', sa.BigInteger(), nullable=False),
        sa.Column('hash', sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_head')),
    )
    # Plain ALTER TABLE on both databases: SQLite copies nothing, and loses no trigger.
    op.add_column('audit_entry', sa.Column('sequence', sa.BigInteger(), nullable=True))
    op.add_column('audit_entry', sa.Column('hash', sa.String(length=64), nullable=True))
    op.create_index('ix_audit_entry_sequence', 'audit_entry', ['sequence'], unique=True)
    connection = op.get_bind()
    sequence, newest = _chain(connection)
    connection.execute(head.insert().values(id=1, sequence=sequence, hash=newest))
    if connection.dialect.name == 'postgresql':
        op.execute(f"""
            CREATE FUNCTION audit_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$
        """)
        op.execute("""
            CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry FOR EACH ROW
            WHEN (OLD.hash IS NOT NULL) EXECUTE FUNCTION audit_entry_refuse()
        """)
        op.execute("""
            CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry FOR EACH ROW
            EXECUTE FUNCTION audit_entry_refuse()
        """)
        op.execute("""
            CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry
            EXECUTE FUNCTION audit_entry_refuse()
        """)
    else:
        op.execute(f"""
            CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry WHEN OLD.hash IS NOT NULL
            BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
        """)
        op.execute(f"""
            CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry
            BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
        """)


def downgrade():
    if op.get_bind().dialect.name == 'postgresql':
        for name in ('update', 'delete', 'truncate'):
            op.execute(f'DROP TRIGGER audit_entry_no_{name} ON audit_entry')
        op.execute('DROP FUNCTION audit_entry_refuse()')
    else:
        for name in ('update', 'delete'):
            op.execute(f'DROP TRIGGER audit_entry_no_{name}')
    op.drop_index('ix_audit_entry_sequence', table_name='audit_entry')
    with op.batch_alter_table('audit_entry', schema=None) as batch_op:
        batch_op.drop_column('hash')
        batch_op.drop_column('sequence')
    op.drop_table('audit_head')


def _chain(connection):
    """Put what is there in the order of its ids, which is that of its times. The last sequence and hash."""
    sequence, previous, last_id = 0, '0' * 64, ''
    while True:
        rows = connection.execute(
            sa.select(entry).where(entry.c.id > last_id).order_by(entry.c.id).limit(CHUNK)
        ).all()
        for row in rows:
            at = row.at.replace(tzinfo=UTC) if row.at.tzinfo is None else row.at.astimezone(UTC)
            sequence += 1
            content = [
                previous,
                sequence,
                row.id,
                at.strftime('%Y-%m-%dT%H:%M:%S.%fZ'),
                row.actor,
                row.address,
                row.action,
                row.environment_id,
                row.subject_id,
                row.detail,
            ]
            previous = hashlib.sha256(
                json.dumps(content, sort_keys=True, separators=(',', ':'), ensure_ascii=True).encode()
            ).hexdigest()
            connection.execute(
                entry.update().where(entry.c.id == row.id).values(sequence=sequence, hash=previous)
            )
            last_id = row.id
        if len(rows) < CHUNK:
            return sequence, previous
