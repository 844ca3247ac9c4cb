"""The gateway's tables. Amounts are integers, of 10^-12 of rho and 10^-18 of delta_0; times are seconds since 1970."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
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

# What is reserved counts as spent. A charge is against the dataset's budget and its namespace's, or neither.
namespaces = Table(
    "namespaces",
    metadata,
    Column("unit_namespace", String(63), primary_key=True),
    # The budget of the dataset that was registered first.
    Column("limit_rho_units", BigInteger, nullable=False),
    Column("spent_rho_units", BigInteger, nullable=False),
    Column("limit_delta0_units", BigInteger, nullable=False, server_default="0"),
    Column("spent_delta0_units", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("spent_rho_units >= 0", name="namespace_spent_is_positive"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("dataset", String(63), primary_key=True),
    # Of `namespaces`; SQLite adds no foreign key to a table that is there.
    Column("unit_namespace", String(63), nullable=False),
    Column("limit_rho_units", BigInteger, nullable=False),
    Column("spent_rho_units", BigInteger, nullable=False),
    Column("limit_delta0_units", BigInteger, nullable=False, server_default="0"),
    Column("spent_delta0_units", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("spent_rho_units >= 0", name="spent_is_positive"),
)

charges = Table(
    "charges",
    metadata,
    Column("job", ForeignKey("jobs.job"), primary_key=True),
    Column("dataset", ForeignKey("budgets.dataset"), nullable=False),
    Column("rho_units", BigInteger, nullable=False),
    Column("delta0_units", BigInteger, nullable=False, server_default="0"),
    # reserved, spent or refunded
    Column("state", String(16), nullable=False),
    CheckConstraint("rho_units > 0", name="charge_is_positive"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job", String(64), nullable=False, unique=True),
    Column("developer", String(63), nullable=False),
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

releases = Table(
    "releases",
    metadata,
    Column("plan_hash", LargeBinary(32), primary_key=True),
    Column("job", ForeignKey("jobs.job"), nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("released", Float, nullable=False),
)
