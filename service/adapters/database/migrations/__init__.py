"""How the schema of the record came to be: one revision after another, applied by Alembic."""
