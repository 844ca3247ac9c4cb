"""The gateway's tables. Amounts are integers, of 10^-12 of rho and 10^-18 of delta_0; times are seconds since 1970."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

zones = Table("zones", metadata, Column("zone", String(63), primary_key=True))

datasets = Table(
    "datasets",
    metadata,
    Column("dataset", String(63), primary_key=True),
    Column("zone", ForeignKey("zones.zone"), nullable=False),
    Column("version", LargeBinary(32), nullable=False),
    Column("declaration", LargeBinary, nullable=False),
    # Serialized SignedShardRegistrations, in a RegisterDatasetRequest.
    Column("registration", LargeBinary, nullable=False),
    Column("registered", Float, nullable=False),
)

# What may be spent, of which what is reserved counts as spent. By kind, the name is
#   dataset       the dataset's
#   namespace     that of the unit namespace
#   organisation  DATASET/ORGANISATION: what one organisation may spend on one dataset
#   agreement     the agreement's: what may be spent under it
accounts = Table(
    "accounts",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(127), primary_key=True),
    Column("limit_rho_units", BigInteger, nullable=False),
    Column("spent_rho_units", BigInteger, nullable=False),
    Column("limit_delta0_units", BigInteger, nullable=False),
    Column("spent_delta0_units", BigInteger, nullable=False),
    CheckConstraint("spent_rho_units >= 0 AND spent_delta0_units >= 0", name="spent_is_not_negative"),
)

# A job's charge: one row for each account that it is against, alike but for the account.
charges = Table(
    "charges",
    metadata,
    # Deferred: an account is charged before the job is recorded, in the state that follows from it.
    Column("job", ForeignKey("jobs.job", deferrable=True, initially="DEFERRED"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(127), primary_key=True),
    Column("rho_units", BigInteger, nullable=False),
    Column("delta0_units", BigInteger, nullable=False),
    # reserved, spent or refunded
    Column("state", String(16), nullable=False),
    ForeignKeyConstraint(["kind", "name"], ["accounts.kind", "accounts.name"]),
    CheckConstraint("rho_units > 0", name="charge_is_positive"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job", String(64), nullable=False, unique=True),
    Column("developer", String(63), nullable=False),
    # The developer's, when the job was asked for: its accounts are charged.
    Column("organisation", String(63), nullable=False, server_default=""),
    # What it was asked under; empty: under none.
    Column("agreement", String(63), nullable=False, server_default=""),
    Column("request_id", String(200), nullable=False),
    # What was asked, so that one request id never stands for two requests.
    Column("request_digest", LargeBinary(32), nullable=False),
    Column("dataset", String(63), nullable=False),
    Column("sql", Text, nullable=False),
    Column("plan", LargeBinary, nullable=False),
    Column("plan_hash", LargeBinary(32), nullable=False),
    Column("authorization", LargeBinary, nullable=False),
    Column("registration", LargeBinary, nullable=False),
    Column("approval", LargeBinary),
    Column("state", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("failure", LargeBinary),
    Column("replayed", Integer, nullable=False),
    UniqueConstraint("developer", "request_id", name="one_job_a_request"),
)

agreements = Table(
    "agreements",
    metadata,
    Column("agreement", String(63), primary_key=True),
    Column("dataset", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    # A serialized Agreement; what else is here is for searching and counting.
    Column("terms", LargeBinary, nullable=False),
    # Jobs that were charged under it.
    Column("uses", BigInteger, nullable=False),
    Column("max_uses", BigInteger),
    Column("registered", Float, nullable=False),
    CheckConstraint("uses >= 0 AND (max_uses IS NULL OR uses <= max_uses)", name="uses_are_within_their_limit"),
)

programs = Table(
    "programs",
    metadata,
    Column("job", ForeignKey("jobs.job"), primary_key=True),
    Column("node", String(63), primary_key=True),
    # A SealedProgram.
    Column("sealed", LargeBinary, nullable=False),
)

program_sources = Table(
    "program_sources",
    metadata,
    Column("job", ForeignKey("jobs.job"), primary_key=True),
    Column("source", LargeBinary, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("plan_hash", LargeBinary(32), primary_key=True),
    Column("job", ForeignKey("jobs.job"), nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("released", Float, nullable=False),
)
