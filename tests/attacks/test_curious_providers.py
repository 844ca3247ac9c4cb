"""Attack: providers who know a release, and the noise shares that their own enclaves added to it, subtract those.

The audit is that of `test_mechanism_audit_v2`: who tells two neighbours apart by a threshold shows a lower bound of
μ; the claim of ρ-zCDP is μ = √(2ρ). The noise is drawn as enclaves draw it, for a plan as the gateway makes it.
Two audits at `ALARM`: this file fails by chance with probability below 10⁻⁷.
"""

from __future__ import annotations

import numpy as np
import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.releases import releases
from enclave_sim.plan.schema import DeclarationError, check_curious
from enclave_sim.plan.validation import check_plan
from enclave_sim.privacy.gaussian import mechanism_name
from enclave_sim.privacy.sampling import sample_share
from tests.attacks.neighbours import CLINIC, asked
from tests.attacks.test_mechanism_audit_v2 import Audit, audit

TRIALS = 200_000
PARTIES = 5
CURIOUS = 2
EPSILON = 8.0
"""So that a threshold test on this many trials reaches most of the claim."""
SQL = "SELECT COUNT(*) FROM visits"


def _against(curious: int) -> DatasetDeclaration:
    declaration = DatasetDeclaration()
    declaration.CopyFrom(CLINIC)
    declaration.curious_providers = curious
    return declaration


def _question(curious: int) -> Plan:
    return asked(SQL, declaration=_against(curious), epsilon=EPSILON, parties=PARTIES)


def _audit_of(plan: Plan) -> Audit:
    """What two curious providers of five tell of a unit that moves the count by its whole sensitivity."""
    sigma = plan.statistics[0].sigma
    unknown = np.sum([np.array(sample_share(TRIALS, sigma)) for _ in range(PARTIES - CURIOUS)], axis=0)
    with_unit = np.arange(TRIALS) % 2 == 1
    signal = round(releases(plan)[0].delta2_squared ** 0.5)
    return audit(unknown + signal * with_unit, with_unit, signal / 2, plan.statistics[0].rho_units)


def test_what_curious_providers_see_keeps_the_claim() -> None:
    """All of it, and no more than it: no budget is wasted."""
    assert _audit_of(_question(CURIOUS)).kept


def test_the_audit_catches_noise_that_was_made_for_nobody_curious() -> None:
    """The control: outsiders would be served by it, two providers who subtract their shares see through it."""
    assert _audit_of(_question(0)).caught


def test_the_price_in_accuracy_is_the_root_of_all_shares_over_the_unknown_ones() -> None:
    """√(5/3): what docs/aggregation.md states."""
    careful, plain = (_question(curious).statistics[0].sigma for curious in (CURIOUS, 0))
    assert careful / plain == pytest.approx((PARTIES / (PARTIES - CURIOUS)) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("curious", [0, 1, 3, 5])
def test_an_enclave_refuses_a_plan_made_for_another_number_of_them(curious: int) -> None:
    """A gateway that wants sharper answers cannot have them."""
    plan = _question(CURIOUS)
    plan.noise.curious = curious
    with pytest.raises(PlanError, match=r"noise\.curious"):
        check_plan(plan, _against(CURIOUS), dataset_version=bytes(32))


def test_noise_for_fewer_than_declared_has_another_price_than_the_plan_may_state() -> None:
    """The σ of a plan for nobody curious, under a plan that says two."""
    plan, sharper = _question(CURIOUS), _question(0)
    plan.statistics[0].sigma = sharper.statistics[0].sigma
    with pytest.raises(PlanError, match="rho_units"):
        check_plan(plan, _against(CURIOUS), dataset_version=bytes(32))


def test_at_least_one_share_stays_unknown() -> None:
    """Of five providers, five curious ones together know all the noise there is."""
    check_curious(_against(PARTIES - 1), PARTIES)
    with pytest.raises(DeclarationError, match="curious_providers"):
        check_curious(_against(PARTIES), PARTIES)


def test_the_mechanism_is_named_as_the_sum_of_the_unknown_shares() -> None:
    """It is that sum which is priced."""
    assert mechanism_name(5, 2) == "sum of 3 discrete Gaussian shares, of 5 added, against 2 curious"
    assert mechanism_name(2, 1) == "discrete Gaussian, of 2 added, against 1 curious"
    with pytest.raises(ValueError, match="parties"):
        mechanism_name(2, 2)
