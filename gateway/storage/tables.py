"""The gateway's tables. Amounts are integers, of 10^-12 of rho and 10^-18 of delta_0; times are seconds since 1970."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
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
    # In seconds since 1970; null of one from before there was this column.
    Column("charged", Float),
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
    # What waits, and what was asked of one dataset, found among many jobs whose plans are long.
    Index("jobs_by_state", "state", "number"),
    Index("jobs_by_dataset", "dataset", "number"),
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
    # An AgreementState, as the last step left it: that the term is over is told by the time.
    Column("state", Integer, nullable=False, server_default="5"),
    # A serialized SignedAgreement, with the signatures that are there; empty: there is none.
    Column("signed", LargeBinary, nullable=False, server_default=text("x''")),
    CheckConstraint("uses >= 0 AND (max_uses IS NULL OR uses <= max_uses)", name="uses_are_within_their_limit"),
)

# Every step of every agreement's life, never changed.
agreement_events = Table(
    "agreement_events",
    metadata,
    Column("agreement", ForeignKey("agreements.agreement"), primary_key=True),
    # From 1.
    Column("number", Integer, primary_key=True),
    Column("action", String(16), nullable=False),
    Column("person", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    # The state that it led to.
    Column("state", Integer, nullable=False),
)

# Jobs that were charged under an agreement, by days (UTC) since 1970. A charge that is given back stays counted here.
agreement_days = Table(
    "agreement_days",
    metadata,
    Column("agreement", ForeignKey("agreements.agreement"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("uses", BigInteger, nullable=False),
)

# What the coordinator published for operators.
operator_notices = Table(
    "operator_notices",
    metadata,
    Column("notice", String(63), primary_key=True),
    # A serialized OperatorNotice.
    Column("terms", LargeBinary, nullable=False),
    Column("person", String(63), nullable=False),
    Column("published", Float, nullable=False),
)

# Who applied under a notice, and what became of it.
operating_agreements = Table(
    "operating_agreements",
    metadata,
    Column("notice", ForeignKey("operator_notices.notice"), primary_key=True),
    Column("operator", ForeignKey("organisations.organisation"), primary_key=True),
    # A serialized OperatingAgreement.
    Column("terms", LargeBinary, nullable=False),
    Column("applied", Float, nullable=False),
    # An AgreementState, as the last step left it: that the term is over is told by the time.
    Column("state", Integer, nullable=False),
    # A serialized SignedOperatingAgreement, with the signatures that are there.
    Column("signed", LargeBinary, nullable=False),
)

# Every step of their lives, never changed; columns as in agreement_events.
operating_events = Table(
    "operating_events",
    metadata,
    Column("notice", String(63), primary_key=True),
    Column("operator", String(63), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("action", String(16), nullable=False),
    Column("person", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("state", Integer, nullable=False),
    ForeignKeyConstraint(
        ["notice", "operator"], ["operating_agreements.notice", "operating_agreements.operator"], name="of_an_agreement"
    ),
)

deployments = Table(
    "deployments",
    metadata,
    Column("deployment", String(63), primary_key=True),
    Column("developer", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    # A SignedDeploymentTerms.
    Column("terms", LargeBinary, nullable=False),
    # Sealed to the enclave that serves it.
    Column("sealed_model", LargeBinary, nullable=False),
    # A Provenance; empty: nothing is known.
    Column("provenance", LargeBinary, nullable=False),
    # A SignedDeploymentApproval, a SignedDeploymentWithdrawal.
    Column("approval", LargeBinary),
    Column("withdrawal", LargeBinary),
    Column("state", Integer, nullable=False),
    # Of a withdrawn one: whether its enclave has been told.
    Column("enclave_told", Integer, nullable=False, server_default="0"),
    Column("created", Float, nullable=False),
)

# Every order to predict. Nothing of its rows is here.
predictions = Table(
    "predictions",
    metadata,
    Column("order_digest", LargeBinary(32), primary_key=True),
    Column("deployment", ForeignKey("deployments.deployment"), nullable=False),
    Column("organisation", String(63), nullable=False),
    Column("caller", String(63), nullable=False),
    # That count: 0 where the enclave refused the order before it counted it.
    Column("rows", BigInteger, nullable=False),
    Column("price_micros", BigInteger, nullable=False),
    Column("counted", BigInteger, nullable=False),
    CheckConstraint("rows >= 0 AND price_micros >= 0", name="uses_are_not_negative"),
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

# Uses of verification. Nothing here says whom it was about, or what came of it: the gateway does not know.
verifications = Table(
    "verifications",
    metadata,
    # The digest of the consent: each is used once.
    Column("consent", LargeBinary(32), primary_key=True),
    Column("dataset", String(63), nullable=False),
    Column("developer", String(63), nullable=False),
    # Who owes the price.
    Column("organisation", String(63), nullable=False),
    Column("node", String(63), nullable=False),
    # In the provider's unit of account, as it was declared then.
    Column("price", BigInteger, nullable=False),
    Column("used", Float, nullable=False),
    CheckConstraint("price >= 0", name="price_is_not_negative"),
    Index("verifications_of_a_day", "dataset", "developer", "used"),
)

# What was done, by whom, to what: see `gateway.storage.audit`. Triggers refuse to change or delete a row.
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_millis", BigInteger, nullable=False),
    Column("person", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    Column("action", String(63), nullable=False),
    Column("subject", String(127), nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Index("audit_of_a_subject", "subject"),
)

# Everybody's yes to a job that waits. Nobody says yes to what their own organisation asked for, and no organisation and
# no kind of organisation twice.
approvals = Table(
    "approvals",
    metadata,
    Column("job", ForeignKey("jobs.job"), primary_key=True),
    Column("organisation", String(63), primary_key=True),
    # "provider" or "supervisor".
    Column("kind", String(16), nullable=False),
    Column("person", String(63), nullable=False),
    # The organisation that the job is of.
    Column("asked_by", String(63), nullable=False),
    # A SignedApproval.
    Column("signed", LargeBinary, nullable=False),
    Column("approved", Float, nullable=False),
    CheckConstraint("organisation <> asked_by", name="nobody_approves_their_own"),
    UniqueConstraint("job", "kind", name="one_approval_a_kind"),
)

# Every stop, for good; a dataset's cut-off and an agreement's suspension may be lifted.
stops = Table(
    "stops",
    metadata,
    # From 1.
    Column("number", Integer, primary_key=True),
    # Of what was signed, in the domain "stop".
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    # A StopScope.
    Column("scope", Integer, nullable=False),
    Column("subject", String(127), nullable=False),
    Column("person", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    # A serialized SignedStop; its signature is empty where a job was cancelled without.
    Column("signed", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    # The jobs that it ended, as JSON.
    Column("jobs", Text, nullable=False),
    # A serialized SignedLift; `lifted` is when all nodes had done as it says.
    Column("lift", LargeBinary),
    Column("lifted", Float),
    Column("lifted_by", String(63)),
    Index("stops_of_a_subject", "subject"),
)

# What each node's enclave signed of it, and who owes it: a row without either is a node that was not reached yet.
stop_proofs = Table(
    "stop_proofs",
    metadata,
    Column("stop", ForeignKey("stops.number"), primary_key=True),
    Column("node", String(63), primary_key=True),
    # Serialized StopProofs.
    Column("proof", LargeBinary),
    Column("lift_proof", LargeBinary),
    # Why it did not, as it said last.
    Column("refusal", Text, nullable=False, server_default=""),
)

# A yes to every job of a template: see yingbi/api/templates.py. What is here beside the signature is for searching and
# counting.
standing_approvals = Table(
    "standing_approvals",
    metadata,
    # The hexadecimal digest of the StandingApproval.
    Column("standing", String(64), primary_key=True),
    Column("dataset", String(63), nullable=False),
    Column("agreement", String(63), nullable=False),
    Column("organisation", String(63), nullable=False),
    # "provider" or "supervisor".
    Column("kind", String(16), nullable=False),
    Column("person", String(63), nullable=False),
    # The organisation whose jobs it is about, and the job that it was given with.
    Column("asked_by", String(63), nullable=False),
    Column("job", ForeignKey("jobs.job"), nullable=False),
    # A SignedApproval.
    Column("signed", LargeBinary, nullable=False),
    Column("given", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("revoked", Float),
    # Jobs that were charged under it, and what they cost; what is given back stays counted.
    Column("jobs", BigInteger, nullable=False),
    Column("max_jobs", BigInteger, nullable=False),
    Column("rho_units", BigInteger, nullable=False),
    Column("max_rho_units", BigInteger, nullable=False),
    CheckConstraint("organisation <> asked_by", name="nobody_approves_their_own"),
    CheckConstraint("jobs <= max_jobs AND rho_units <= max_rho_units", name="uses_are_within_their_limits"),
    Index("standing_of_a_dataset", "dataset", "asked_by"),
)

standing_uses = Table(
    "standing_uses",
    metadata,
    Column("standing", ForeignKey("standing_approvals.standing"), primary_key=True),
    Column("job", ForeignKey("jobs.job"), primary_key=True),
    # Of a round: templates.phase_of.
    Column("phase", String(80), nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("plan_hash", LargeBinary(32), primary_key=True),
    Column("job", ForeignKey("jobs.job"), nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("released", Float, nullable=False),
)

organisations = Table(
    "organisations",
    metadata,
    Column("organisation", String(63), primary_key=True),
    # A Role.
    Column("kind", String(16), nullable=False),
    Column("title", Text, nullable=False),
    # Its Ed25519 public key.
    Column("key", LargeBinary(32), nullable=False),
    Column("filed", Float, nullable=False),
    # When it was removed, with all its people.
    Column("left", Float),
)

people = Table(
    "people",
    metadata,
    # Never given twice, not even after its person left.
    Column("person", String(63), primary_key=True),
    Column("organisation", ForeignKey("organisations.organisation"), nullable=False),
    Column("real_name", Text, nullable=False),
    # Names of Duty, separated by spaces.
    Column("duties", Text, nullable=False),
    # A PersonState.
    Column("state", Integer, nullable=False),
    # What the person signs with, and a SignedCertificate of it; none before the invitation is accepted.
    Column("key", LargeBinary(32), unique=True),
    Column("certificate", LargeBinary),
    Column("filed", Float, nullable=False),
    Column("left", Float),
)

invitations = Table(
    "invitations",
    metadata,
    Column("invitation_key", LargeBinary(32), primary_key=True),
    Column("person", ForeignKey("people.person"), nullable=False),
    # The body of the SignedInvitation.
    Column("body", LargeBinary, nullable=False),
    # open, accepted, or void: another took its place, or its person left.
    Column("state", String(16), nullable=False),
    Column("filed", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("person", ForeignKey("people.person"), nullable=False),
    # SHA-256 of the bearer credential, hexadecimal.
    Column("bearer_hash", String(64), nullable=False, unique=True),
    Column("label", String(127), nullable=False),
    # Names of Scope, separated by spaces; NULL: all that the person may.
    Column("scopes", Text),
    # 1: of who signed in to the console, by more than a token.
    Column("session", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    # When what it opens as a link ends at the latest: with the token that it was made with. NULL: that has no end.
    Column("opens_until", Float),
    # To the hour.
    Column("last_used", Float),
    Column("revoked", Float),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("credential_id", LargeBinary, primary_key=True),
    Column("person", ForeignKey("people.person"), nullable=False),
    # As COSE has it.
    Column("public_key", LargeBinary, nullable=False),
    # How often it was used, where it counts.
    Column("sign_count", BigInteger, nullable=False),
    Column("label", String(127), nullable=False),
    Column("added", Float, nullable=False),
)

totps = Table(
    "totps",
    metadata,
    Column("person", ForeignKey("people.person"), primary_key=True),
    # Base32. Who can read this database can make codes, and could make sessions without.
    Column("secret", String(64), nullable=False),
    # Of the last code that was accepted: in 30 seconds since 1970.
    Column("last_step", BigInteger, nullable=False),
    Column("added", Float, nullable=False),
)
