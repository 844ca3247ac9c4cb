"""Drawing the noise: exact discrete Gaussians. Only enclaves import this."""

from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_gaussian
from opendp.metrics import l2_distance
from opendp.mod import enable_features

from enclave_sim.privacy.gaussian import check_sigma
from enclave_sim.privacy.vector_sampling import sample_vector

OPENDP_CELLS = 256
"""The longest vector that OpenDP draws, at about 20 µs a cell; longer ones are drawn by `sample_vector`."""


def sample_share(cells: int, sigma: int) -> list[int]:
    """One party's noise: `cells` independent draws of N_Z(0, σ²), sampled exactly.

    Few cells come from OpenDP's reviewed sampler, many from `vector_sampling`, a hundred times faster;
    the distribution is the same. Every call draws afresh: a party that resends must resend what it stored.

    Raises:
        ValueError: cells < 0 or σ < `MIN_SIGMA`.
        SigmaTooLargeError: σ > `MAX_SIGMA`.
    """
    if cells < 0:
        raise ValueError(f"cells must not be negative, not {cells}")
    check_sigma(sigma)
    return sample_by_opendp(cells, sigma) if cells <= OPENDP_CELLS else sample_vector(cells, sigma)


def sample_by_opendp(cells: int, sigma: int) -> list[int]:
    """The same distribution from OpenDP (Canonne, Kamath, Steinke, arXiv 2004.00010, algorithm 3)."""
    enable_features("contrib")
    space = vector_domain(atom_domain(T="i64")), l2_distance(T="i64")
    noise: list[int] = make_gaussian(*space, scale=float(sigma))([0] * cells)
    return noise
