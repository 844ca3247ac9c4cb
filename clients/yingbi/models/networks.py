"""A fitted small network: what it says of rows of one's own. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit
from yingbi.cells import Cell, to_json, to_python
from yingbi.extras import learn_extra, pandas_extra
from yingbi.linear_model import Columns, design_of
from yingbi.matrices import dot
from yingbi.models.balance import class_weights_json
from yingbi.models.network_rule import NetworkState, layers_of
from yingbi.regression import Coefficient

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 7
"""Of a parameter that its fingerprint is made of: many steps lead to it, and machines round each differently."""
LARGEST_INPUT = 8.0


@dataclass(frozen=True)
class NetworkModel:
    """What rounds came to, in the units of the data."""

    state: NetworkState

    @property
    def fit(self) -> Fit:
        return self.state.fit

    @property
    def name(self) -> str:
        """Of the model's kind."""
        return "NeuralNetwork"

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(self.state.shape.hidden)

    @property
    def classes(self) -> tuple[Cell, ...]:
        """What is predicted; none of a number."""
        return tuple(map(to_python, self.fit.classes))

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """None: a weight of a network by itself says nothing, and has no error."""
        return ()

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the formula writes it."""
        regressors = self.fit.columns[:-1]
        return tuple(dict.fromkeys(factor.variable for each in regressors for factor in each.factors))

    @cached_property
    def layers(self) -> list[list[list[float]]]:
        """Of each layer a row for each of its sums, the constant's weight first; inputs are scaled as rounds had it."""
        return layers_of(self.fit, self.state.final)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        numbers = [*self.state.final, *self.state.scales, *self.state.shifts]
        document = {
            "model": Fit.Model.Name(self.fit.model),
            "formula": self.fit.formula,
            "hidden": list(self.hidden),
            "classes": [to_json(each) for each in self.classes],
            "parameters": [f"{each + 0.0:.{DIGITS - 1}e}" for each in numbers],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def predict(self, rows: Columns) -> list[Any]:
        """The most likely class of each row, or its number; NaN where a variable has no value.

        Values outside of the declared bounds count as the nearest, as they did in training.

        Raises:
            Problem: as `LinearModel.design`.
        """
        if self.classes:
            return [
                self.classes[max(range(len(chances)), key=chances.__getitem__)]
                if math.isfinite(chances[0])
                else math.nan
                for chances in self.predict_proba(rows)
            ]
        response, scale, shift = self.fit.columns[-1], self.state.scales[-1], self.state.shifts[-1]
        sums = self._sums(rows)
        return [
            math.nan if own is None else response.centre + response.half_range * (own[0] - shift) / scale
            for own in sums
        ]

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The chance of each class, in their order; of a number there is none, and this is MALFORMED "no_classes"."""
        if not self.classes:
            raise Problem(
                Kind.MALFORMED, "no_classes", "Of a number there are no chances.", hint="predict() says the number"
            )
        return [[math.nan] * len(self.classes) if own is None else _chances(own) for own in self._sums(rows)]

    def estimator(self) -> Any:
        """A fitted scikit-learn MLPClassifier or MLPRegressor on the columns of `frame_of`.

        It does not know of bounds: of values outside of them it says what nothing was learned of.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, neural_network, preprocessing = learn_extra(_sklearn)
        kind = neural_network.MLPClassifier if self.classes else neural_network.MLPRegressor
        made = kind(hidden_layer_sizes=self.hidden, activation="tanh")
        tables = [pd.DataFrame(layer, dtype="float64").to_numpy() for layer in self._in_units()]
        made.intercepts_ = [table[:, 0].copy() for table in tables]
        made.coefs_ = [table[:, 1:].T.copy() for table in tables]
        made.n_layers_, made.n_outputs_ = len(tables) + 1, len(tables[-1])
        made.n_features_in_ = len(self.fit.columns) - 1
        made.feature_names_in_ = pd.Series([each.name for each in self.fit.columns[:-1]], dtype=object).to_numpy()
        made.out_activation_ = "identity"
        if self.classes:
            made.out_activation_ = "logistic" if len(self.classes) == 2 else "softmax"
            made.classes_ = pd.Series(list(self.classes)).to_numpy()
            # What its fit() would set, and predict() asks for. It takes classes in their own order alone.
            made._label_binarizer = preprocessing.LabelBinarizer().fit(made.classes_)
            made._label_binarizer.classes_ = made.classes_
        return made

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """The regressors as a frame: what `estimator()` predicts from."""
        found: pd.DataFrame = pandas_extra("learn").DataFrame(design_of(self.fit.columns[:-1], rows))
        return found

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.name,
            "formula": self.fit.formula,
            "hidden": list(self.hidden),
            "classes": [to_json(each) for each in self.classes] or None,
            "parameters": len(self.state.parameters),
            "clip": self.state.max_gradient,
            "rate": self.state.rate,
            "class_weights": class_weights_json(self.fit, self.state.balance),
            "units": self.state.units,
            "units_error": self.state.units_error,
            "rounds": self.fit.round.number + 1,
            "rounds_planned": self.fit.round.rounds,
            "gradient": self.state.gradient,
            "gradient_noise": self.state.noise_length,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        widths = " and ".join(map(str, self.hidden))
        return f"{self.fit.formula}\n{len(self.state.parameters):,} parameters, hidden layers of {widths}"

    def _sums(self, rows: Columns) -> list[list[float] | None]:
        """What comes out of the last layer; None where a variable has no value."""
        columns = list(design_of(self.fit.columns[:-1], rows).values())
        return [self._sums_of(row) if all(map(math.isfinite, row)) else None for row in zip(*columns, strict=True)]

    def _sums_of(self, row: Sequence[float]) -> list[float]:
        values = []
        for value, column, scale, shift in zip(
            row, self.fit.columns, self.state.scales, self.state.shifts, strict=False
        ):
            z = min(max((value - column.centre) / column.half_range, column.lower), column.upper)
            values.append(min(max(scale * z + shift, -LARGEST_INPUT), LARGEST_INPUT))
        for place, layer in enumerate(self.layers):
            values = [dot(own, (1.0, *values)) for own in layer]
            if place + 1 < len(self.layers):
                values = list(map(math.tanh, values))
        return values

    def _in_units(self) -> list[list[list[float]]]:
        """The layers, of inputs and to an output in the data's units."""
        first, *others = self.layers
        scaled = []
        for constant, *weights in first:
            slopes, start = [], constant
            for weight, column, scale, shift in zip(
                weights, self.fit.columns, self.state.scales, self.state.shifts, strict=False
            ):
                slopes.append(weight * scale / column.half_range)
                start += weight * (shift - scale * column.centre / column.half_range)
            scaled.append([start, *slopes])
        found = [scaled, *others]
        if not self.classes:
            response, scale, shift = self.fit.columns[-1], self.state.scales[-1], self.state.shifts[-1]
            unit = response.half_range / scale
            ((constant, *weights),) = found[-1]
            found[-1] = [[response.centre + unit * (constant - shift), *(unit * weight for weight in weights)]]
        return found


def _chances(sums: Sequence[float]) -> list[float]:
    if len(sums) == 1:
        one = 0.5 + 0.5 * math.tanh(0.5 * sums[0])
        return [1 - one, one]
    powers = [math.exp(each - max(sums)) for each in sums]
    return [power / math.fsum(powers) for power in powers]


def _sklearn() -> tuple[Any, ...]:
    import pandas as pd
    from sklearn import neural_network, preprocessing

    return pd, neural_network, preprocessing
