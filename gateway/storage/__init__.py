"""Where the gateway keeps its state: tables, migrations, and the one writer to the database."""
