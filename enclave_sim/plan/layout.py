"""How a plan's cells are packed into plaintexts: public, and fixed before any data is read. Pure."""

from __future__ import annotations

from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.paillier.packing import Layout
from enclave_sim.plan.sensitivity import cells


def layout_of(plan: Plan, modulus_bits: int) -> Layout:
    """The layout of a checked plan's vector under a modulus of this exact length."""
    return Layout(slot_bits=plan.slot_bits, count=cells(plan), modulus_bits=modulus_bits)
