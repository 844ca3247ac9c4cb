"""How long the vector of a `ModelVector` is: of the message alone, for enclaves and for whoever reads a receipt.

A kind of model is a function here, one that checks it in `enclave_sim.plan.models`, and its kernel in
`enclave_sim.engine.models` and `enclave_sim.engine.reference_models`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from yingbi.api.v1.plan_pb2 import BinnedGradient, GeneralizedLinear, ModelVector, Network

SQUARE, PRODUCT = 5, 7
"""What cells of `SecondMoments.products` are multiplied with: of one number's square, and of two numbers' product. Near
to 1 to the root of 2, so that a matrix and its cells on and above the diagonal are about equally long."""


def width(vector: ModelVector) -> int:
    """Cells of a vector. May be any number where nobody has checked the message.

    Raises:
        ValueError: it is of no known kind.
    """
    return score_width(vector) if vector.HasField("score") else step_width(vector)


def score_width(vector: ModelVector) -> int:
    """Cells of a score: see Score in plan.proto."""
    return 2 if predicts_classes(vector) else 1


def scored(vector: ModelVector, limit: float, fraction_bits: int) -> ModelVector:
    """The score of a step's model in place of the step. Its cells are within 1/2 of 0, so nobody's are cut."""
    found = ModelVector()
    found.CopyFrom(vector)
    del found.class_weights[:]
    found.score.limit = limit
    found.max_norm = math.ceil(math.sqrt(score_width(vector)) / 2 * (1 << fraction_bits))
    return found


def predicts_classes(vector: ModelVector) -> bool:
    """Whether the response of a gradient is a class."""
    match vector.WhichOneof("kind"):
        case "generalized_linear":
            classes = (GeneralizedLinear.FAMILY_BERNOULLI_LOGIT, GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT)
            return vector.generalized_linear.family in classes
        case "network":
            return vector.network.family in (Network.FAMILY_BERNOULLI_LOGIT, Network.FAMILY_MULTINOMIAL_LOGIT)
        case "binned_gradient":
            return vector.binned_gradient.family == BinnedGradient.FAMILY_BERNOULLI_LOGIT
        case _:
            return False


def step_width(vector: ModelVector) -> int:
    """Cells of a step's vector, whether or not it is what is measured; raises ValueError as `width`."""
    kind = vector.WhichOneof("kind") or "none"
    if kind not in _WIDTHS:
        raise ValueError(f"nothing is known of model vectors of this kind: {kind}")
    return _WIDTHS[kind](vector)


def _generalized_linear(vector: ModelVector) -> int:
    return len(vector.generalized_linear.parameters)


def _nearest_centre(vector: ModelVector) -> int:
    count = len(vector.terms)
    centres = len(vector.nearest_centre.centres) // count if count else 0
    return centres * (count + 2)


def _second_moments(vector: ModelVector) -> int:
    count = len(vector.terms)
    if vector.second_moments.products:
        return (count + 1) * (count + 2) // 2
    return 2 * count + 1


def _network(vector: ModelVector) -> int:
    return sum(sums * (inputs + 1) for sums, inputs in layers(vector.network, len(vector.terms) - 1))


def _binned_gradient(vector: ModelVector) -> int:
    return sum(len(feature.edges) + 1 for feature in vector.binned_gradient.features)


_WIDTHS: Mapping[str, Callable[[ModelVector], int]] = {
    "generalized_linear": _generalized_linear,
    "nearest_centre": _nearest_centre,
    "second_moments": _second_moments,
    "network": _network,
    "binned_gradient": _binned_gradient,
}


def parameter_sets(model: GeneralizedLinear) -> int:
    """How many sets of parameters a family has: one, or of a multinomial one for each class but the first."""
    if model.family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT:
        return max(int(model.classes) - 1, 0)
    return 1


def layers(network: Network, inputs: int) -> list[tuple[int, int]]:
    """Of each of a network's layers how many sums it makes, and of how many numbers beside the constant."""
    is_multinomial = network.family == Network.FAMILY_MULTINOMIAL_LOGIT
    widths = [inputs, *network.hidden, network.classes if is_multinomial else 1]
    return list(zip(widths[1:], widths[:-1], strict=True))
