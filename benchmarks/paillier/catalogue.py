"""The libraries whose encryption is compared, how each is installed, and with which key each opens."""

from __future__ import annotations

from dataclasses import dataclass, field

THRESHOLD = "3 of 5 shares"
WHOLE = "the whole key"


@dataclass(frozen=True)
class Library:
    """One row of the table.

    `script` is a file of `scripts/`, run by a Python that has `requirements`; without requirements, the module
    `ours` of this package. `environment` is added to that of its process. `about` says how it encrypts.
    """

    name: str
    script: str
    requirements: tuple[str, ...]
    opens_with: str
    about: str
    environment: dict[str, str] = field(default_factory=dict)
    needs: str | None = None


LIBRARIES = (
    Library(
        "Yingbi",
        "ours",
        (),
        THRESHOLD,
        "eight numbers at a time in 512-bit registers, or the limbs of one (`enclave_sim/paillier/powers.c`)",
    ),
    Library(
        "Yingbi, gmpy2",
        "ours",
        (),
        THRESHOLD,
        "the same without the compiled kernel",
        environment={"YINGBI_NATIVE_POWERS": "off"},
    ),
    Library(
        "HEU",
        "heu_arrays",
        ("sf-heu==0.5.2b0", "numpy"),
        WHOLE,
        "its scheme ZPaillier: C++, short exponents of a fixed base from a table",
    ),
    Library("pypaillier", "pypaillier_blobs", ("pypaillier==0.8.*",), WHOLE, "Rust over GMP, short exponents"),
    Library(
        "phe",
        "phe_numbers",
        ("phe==1.5.*", "gmpy2>=2.2"),
        WHOLE,
        "Python over gmpy2, one number after another; a full exponent n",
    ),
)
