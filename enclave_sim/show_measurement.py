"""`python -m enclave_sim.show_measurement` prints the list behind this code's measurement, and the measurement last."""

from __future__ import annotations

from enclave_sim.attestation.measurement import measure, measured


def main() -> None:
    """Print both."""
    print(*measured(), measure().hex(), sep="\n")


if __name__ == "__main__":
    main()
