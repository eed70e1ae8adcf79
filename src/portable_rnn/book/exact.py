"""Every quantity of the derivation with 50 digits, from its definition and a tape."""

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from typing import Any

from .._arrays.signatures import named_options
from . import arguments
from .equations import Quantities
from .example import Example
from .tape import Number, Tape

__all__ = ["DIGITS", "Progress", "differentiate", "ignore"]

DIGITS = 50
LARGEST = Decimal(10) ** 17  # its exp has an exponent that the decimal module can hold

Progress = Callable[[int, int], object]


@named_options
def differentiate(
    example: Example, digits: int = DIGITS, progress: Progress | None = None
) -> Quantities:
    """Unroll the network from its definition and differentiate the loss, scalar by scalar.

    Parameters
    ----------
    example : Example
    digits : int
        Precision of the decimals, from 1 to 1000.
    progress : callable, optional
        Called about ``2 T`` times during the computation, as ``progress(done, total)``.

    Returns
    -------
    Quantities
        Of nested lists of `decimal.Decimal`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or ``digits`` is out of bounds.
    ValueError
        If an output o(t) is beyond 1e17 in magnitude.

    Examples
    --------
    >>> from portable_rnn import book
    >>> exact = book.differentiate(book.draw())
    >>> print(sum(exact.y_hat[0]).quantize(1))
    1
    """
    arguments.instance("example", example, Example)
    digits = arguments.digits(digits)
    arguments.progress(progress)
    # Exponents of any size: the softmax of outputs in the thousands needs them.
    with localcontext(Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        return _Unrolled(example, progress or ignore).quantities()


def ignore(done: int, total: int) -> None:
    """Show no progress."""


class _Unrolled:
    """The graph of the loss; every step has its own copies of W and U, as in equation 10.25."""

    def __init__(self, example: Example, progress: Progress) -> None:
        self.progress = progress
        self.tape = tape = Tape()
        U, W, V = (self._leaves(rows) for rows in (example.U, example.W, example.V))
        b, c = self._leaves(example.b), self._leaves(example.c)
        self.U, self.W, self.V, self.b, self.c = U, W, V, b, c
        self.y = [[tape.number(Decimal(v)) for v in row] for row in example.y]
        self.steps: list[dict[str, Any]] = []
        h = self._leaves(example.h0)
        for t, (x_t, y_t) in enumerate(zip(example.x, self.y, strict=True), 1):
            progress(t - 1, 2 * len(self.y))
            s: dict[str, Any] = {"U": self._copies(U), "W": self._copies(W)}
            x = self._leaves(x_t)
            s["a"] = [
                tape.plus(b_i, zip(W_i, h, strict=True), zip(U_i, x, strict=True))
                for b_i, W_i, U_i in zip(b, s["W"], s["U"], strict=True)
            ]
            s["h"] = [tape.tanh(a) for a in s["a"]]
            s["h to o"], s["h to later"] = self._copies(s["h"]), self._copies(s["h"])
            s["o"] = [
                tape.plus(c_i, zip(V_i, s["h to o"], strict=True))
                for c_i, V_i in zip(c, V, strict=True)
            ]
            largest = max(abs(o.value) for o in s["o"])
            if largest > LARGEST:
                raise ValueError(
                    f"o({t}): expected outputs up to {LARGEST:.0e} in magnitude, whose softmax "
                    f"can be computed, got {largest:.3e}"
                )
            powers = [tape.exp(o) for o in s["o"]]
            total = tape.total(powers)
            s["y_hat"] = [tape.divide(power, total) for power in powers]
            logs = [tape.ln(p) for p in s["y_hat"]]
            s["log_p"] = tape.plus(None, zip(y_t, logs, strict=True))
            s["loss"] = tape.number(-s["log_p"].value, (s["log_p"], Decimal(-1)))
            self.steps.append(s)
            h = s["h to later"]
        self.loss = tape.total(s["loss"] for s in self.steps)

    def quantities(self) -> Quantities:
        slopes = self.tape.slopes_of(self.loss)

        def value(tree: Any) -> Any:
            return [value(n) for n in tree] if isinstance(tree, list) else tree.value

        def slope(tree: Any) -> Any:
            return [slope(n) for n in tree] if isinstance(tree, list) else slopes[tree.place]

        def every(name: str, of: Any) -> Any:
            return [of(s[name]) for s in self.steps]

        return Quantities(
            a=every("a", value),
            h=every("h", value),
            o=every("o", value),
            y_hat=every("y_hat", value),
            loss=self.loss.value,
            loss_t=every("loss", value),
            log_p=every("log_p", value),
            log_joint=sum(every("log_p", value)[:2]),
            d_loss_t=every("loss", slope),
            d_o=every("o", slope),
            d_h=every("h", slope),
            from_later=every("h to later", slope),
            from_output=every("h to o", slope),
            d_c=slope(self.c),
            d_b=slope(self.b),
            d_V=slope(self.V),
            d_W_t=every("W", slope),
            d_W=slope(self.W),
            d_U_t=every("U", slope),
            d_U=slope(self.U),
            d_y_hat=every("y_hat", slope),
            jacobian=[self._jacobian(t, s) for t, s in enumerate(self.steps)],
        )

    def _jacobian(self, t: int, step: dict[str, Any]) -> list[list[Decimal]]:
        """Return ∂ŷ(t)/∂h(t), a row for each ŷ_i."""
        self.progress(len(self.steps) + t, 2 * len(self.steps))
        first = step["h"][0].place
        rows = []
        for p in step["y_hat"]:
            slopes = self.tape.slopes_of(p, down_to=first)
            rows.append([slopes[h.place - first] for h in step["h"]])
        return rows

    def _leaves(self, tree: Any) -> list[Any]:
        return [
            self._leaves(v) if isinstance(v, tuple) else self.tape.number(Decimal(v)) for v in tree
        ]

    def _copies(self, tree: Any) -> Any:
        if isinstance(tree, Number):
            return self.tape.copy(tree)
        return [self._copies(branch) for branch in tree]
