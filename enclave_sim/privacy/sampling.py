"""Drawing the noise: exact discrete Gaussians from OpenDP. Only enclaves import this."""

from collections.abc import Iterator
from itertools import islice, repeat

from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_gaussian
from opendp.metrics import l2_distance
from opendp.mod import enable_features

from enclave_sim.privacy.gaussian import check_sigma

_CHUNK = 65_536


def sample_share(cells: int, sigma: int) -> list[int]:
    """One party's noise: `cells` independent draws of N_Z(0, σ²), sampled exactly by OpenDP.

    About 20 µs a cell. Every call draws afresh: a party that resends must resend what it stored.

    Raises:
        ValueError: cells < 0 or σ < `MIN_SIGMA`.
        SigmaTooLargeError: σ > `MAX_SIGMA`.
    """
    if cells < 0:
        raise ValueError(f"cells must not be negative, not {cells}")
    check_sigma(sigma)
    enable_features("contrib")
    space = vector_domain(atom_domain(T="i64")), l2_distance(T="i64")
    add_noise = make_gaussian(*space, scale=float(sigma))
    return [noise for chunk in _chunks(cells) for noise in add_noise([0] * chunk)]


def _chunks(cells: int) -> Iterator[int]:
    yield from islice(repeat(_CHUNK), cells // _CHUNK)
    if cells % _CHUNK:
        yield cells % _CHUNK
