"""The equations by number: what each says, and which quantity it defines.

Numbers are those of Goodfellow, Bengio, Courville, *Deep Learning* (MIT Press 2016), chapter 10.
The three that begin with Q are not in the book: they show how its 10.18 and 10.19 agree with
differentiating through ŷ.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["EQUATIONS", "Equation", "Part", "Quantities"]


class Quantities(NamedTuple):
    """What the equations define, by the book's letters, as nested lists with time first.

    Attributes
    ----------
    a, h : shape (T, H)
        The argument of the tanh, and the hidden state.
    o, y_hat : shape (T, O)
        The output and its softmax ŷ.
    loss : shape ()
    loss_t, log_p : shape (T,)
        L(t), and log p(y(t) | x(1), ..., x(t)).
    log_joint : shape ()
        The log-probability of y(1) and y(2) together.
    d_loss_t : shape (T,)
        ∂L/∂L(t).
    d_o : shape (T, O)
        The gradient of L with respect to o(t).
    d_h : shape (T, H)
        The gradient with respect to h(t).
    from_later, from_output : shape (T, H)
        The parts of ``d_h`` that come through h(t+1), and through o(t): Vᵀ ∇o(t) L.
    d_c : shape (O,)
    d_b : shape (H,)
    d_V : shape (O, H)
        The gradients with respect to c, b and V.
    d_W_t : shape (T, H, H)
        The gradient with respect to the copy of W that step t uses.
    d_W : shape (H, H)
    d_U_t : shape (T, H, I)
        The gradient with respect to the copy of U that step t uses.
    d_U : shape (H, I)
    d_y_hat : shape (T, O)
        The gradient with respect to ŷ(t), -y/ŷ.
    jacobian : shape (T, O, H)
        ∂ŷ(t)/∂h(t), a row for each entry of ŷ.
    matrix_times_y : shape (T, O)
        ``d_o`` as (ŷ1ᵀ - I) y.
    by_way_of_y_hat : shape (T, H)
        ``from_output`` by the chain rule through ŷ.

    Examples
    --------
    >>> from portable_rnn import book
    >>> exact = book.differentiate(book.draw())
    >>> len(exact.d_W), round(exact.d_c[0], 5)
    (5, Decimal('0.15994'))
    """

    a: Any
    h: Any
    o: Any
    y_hat: Any
    loss: Any
    loss_t: Any
    log_p: Any
    log_joint: Any
    d_loss_t: Any
    d_o: Any
    d_h: Any
    from_later: Any
    from_output: Any
    d_c: Any
    d_b: Any
    d_V: Any
    d_W_t: Any
    d_W: Any
    d_U_t: Any
    d_U: Any
    d_y_hat: Any
    jacobian: Any
    matrix_times_y: Any = None
    by_way_of_y_hat: Any = None


# Axes, by the names of Quantities.
SHAPES = {
    **dict.fromkeys(("a", "h", "d_h", "from_later", "from_output", "by_way_of_y_hat"), "TH"),
    **dict.fromkeys(("o", "y_hat", "d_o", "d_y_hat", "matrix_times_y"), "TO"),
    **dict.fromkeys(("loss_t", "log_p", "d_loss_t"), "T"),
    **dict.fromkeys(("loss", "log_joint"), ""),
    **{"d_c": "O", "d_b": "H", "d_V": "OH", "d_W": "HH", "d_U": "HI"},
    **{"d_W_t": "THH", "d_U_t": "THI", "jacobian": "TOH"},
}
SAME = {
    "matrix_times_y": "d_o",
    "by_way_of_y_hat": "from_output",
}  # may be left out of independent values


class Part(NamedTuple):
    """A quantity of an equation: its field, the field it must equal, and its symbols."""

    field: str
    text: str
    latex: str
    same_as: str = ""  # the field of the independent value, if it has another name


@dataclass(frozen=True)
class Equation:
    """A numbered equation.

    Parameters
    ----------
    number : str
    says : str
        What it is, in words.
    text, latex : str
        The formula, for a terminal and for LaTeX.
    parts : tuple of Part
        The quantities that it defines.
    steps : {"all", "each", "last", "before last", "first two"}
        The time steps of the quantities; "all" for a quantity without steps.
    forward : bool
        Whether it belongs to the forward pass. Errors of gradients are relative to the
        largest cotangent, others to the largest parameter or sum of |U| |x|.
    one_hot : bool
        Whether it treats y(t) as one class.

    Examples
    --------
    >>> from portable_rnn import book
    >>> {equation.number: equation.text for equation in book.EQUATIONS}["10.9"]
    'h(t) = tanh(a(t))'
    """

    number: str
    says: str
    text: str
    latex: str
    parts: tuple[Part, ...]
    steps: Literal["all", "each", "last", "before last", "first two"] = "each"
    forward: bool = False
    one_hot: bool = False


EQUATIONS: tuple[Equation, ...] = (
    Equation(
        "10.8",
        "what enters the nonlinearity",
        "a(t) = b + W h(t-1) + U x(t)",
        r"a^{(t)} = b + W h^{(t-1)} + U x^{(t)}",
        (Part("a", "a", "a"),),
        forward=True,
    ),
    Equation(
        "10.9",
        "the hidden state",
        "h(t) = tanh(a(t))",
        r"h^{(t)} = \tanh(a^{(t)})",
        (Part("h", "h", "h"),),
        forward=True,
    ),
    Equation(
        "10.10",
        "the output, before its normalisation",
        "o(t) = c + V h(t)",
        r"o^{(t)} = c + V h^{(t)}",
        (Part("o", "o", "o"),),
        forward=True,
    ),
    Equation(
        "10.11",
        "the probabilities",
        "ŷ(t) = softmax(o(t))",
        r"\hat y^{(t)} = \operatorname{softmax}(o^{(t)})",
        (Part("y_hat", "ŷ", r"\hat y"),),
        forward=True,
    ),
    Equation(
        "10.12",
        "the loss of the sequence",
        "L = L({x(1), ..., x(τ)}, {y(1), ..., y(τ)})",
        r"L\bigl(\{x^{(1)}, \dots, x^{(\tau)}\}, \{y^{(1)}, \dots, y^{(\tau)}\}\bigr)",
        (Part("loss", "L", "L"),),
        "all",
        forward=True,
    ),
    Equation(
        "10.13",
        "is the sum of the losses of the steps",
        "L = Σ_t L(t)",
        r"L = \sum_t L^{(t)}",
        (Part("loss_t", "L", "L"),),
        forward=True,
    ),
    Equation(
        "10.14",
        "each a negative log-likelihood",
        "L = - Σ_t log p(y(t) | x(1), ..., x(t)),  log p(y | ..) = Σ_i y_i ln ŷ_i",
        r"L = -\sum_t \log p_{\text{model}}\bigl(y^{(t)} \mid \{x^{(1)}, \dots, x^{(t)}\}\bigr)",
        (Part("log_p", "log p", r"\log p"),),
        forward=True,
    ),
    Equation(
        "10.15",
        "the likelihood of two steps together",
        "log p(y(1), y(2) | x(1), x(2))",
        r"\log p\bigl(y^{(1)}, y^{(2)} \mid x^{(1)}, x^{(2)}\bigr)",
        (Part("log_joint", "log p(y(1), y(2))", r"\log p(y^{(1)}, y^{(2)})"),),
        "all",
        forward=True,
        one_hot=True,
    ),
    Equation(
        "10.16",
        "is that of one after the other (here, o(2) is not shown y(1))",
        "= log p(y(2) | y(1), x(1), x(2)) + log p(y(1) | x(1), x(2))",
        r"= \log p\bigl(y^{(2)} \mid y^{(1)}, x^{(1)}, x^{(2)}\bigr)"
        r" + \log p\bigl(y^{(1)} \mid x^{(1)}, x^{(2)}\bigr)",
        (Part("log_p", "log p", r"\log p"),),
        "first two",
        forward=True,
        one_hot=True,
    ),
    Equation(
        "10.17",
        "every step counts once",
        "∂L/∂L(t) = 1",
        r"\frac{\partial L}{\partial L^{(t)}} = 1",
        (Part("d_loss_t", "∂L/∂L", r"\partial L / \partial L"),),
        forward=True,
    ),
    Equation(
        "10.18",
        "the gradient with respect to the outputs",
        "(∇o(t) L)_i = ŷ_i(t) - 1_{i = y(t)}   (in general ŷ Σy - y)",
        r"(\nabla_{o^{(t)}} L)_i = \hat y_i^{(t)} - \mathbf 1_{i = y^{(t)}}",
        (Part("d_o", "∇o", r"\nabla_o L"),),
    ),
    Equation(
        "10.19",
        "the gradient with respect to the last hidden state",
        "∇h(τ) L = Vᵀ ∇o(τ) L",
        r"\nabla_{h^{(\tau)}} L = V^\top \nabla_{o^{(\tau)}} L",
        (Part("d_h", "∇h", r"\nabla_h L"),),
        "last",
    ),
    Equation(
        "10.20",
        "in any other it comes on two ways, from later and from the output",
        "∇h(t) L = (∂h(t+1)/∂h(t))ᵀ ∇h(t+1) L + (∂o(t)/∂h(t))ᵀ ∇o(t) L",
        r"\nabla_{h^{(t)}} L = \Bigl(\frac{\partial h^{(t+1)}}{\partial h^{(t)}}\Bigr)^\top"
        r" \nabla_{h^{(t+1)}} L + \Bigl(\frac{\partial o^{(t)}}{\partial h^{(t)}}\Bigr)^\top"
        r" \nabla_{o^{(t)}} L",
        (
            Part("from_later", "later", r"\text{later}"),
            Part("from_output", "output", r"\text{output}"),
        ),
        "before last",
    ),
    Equation(
        "10.21",
        "the recursion",
        "∇h(t) L = Wᵀ diag(1 - h(t+1)²) ∇h(t+1) L + Vᵀ ∇o(t) L",
        r"\nabla_{h^{(t)}} L = W^\top \operatorname{diag}\bigl(1 - (h^{(t+1)})^2\bigr)"
        r" \nabla_{h^{(t+1)}} L + V^\top \nabla_{o^{(t)}} L",
        (Part("d_h", "∇h", r"\nabla_h L"),),
        "before last",
    ),
    Equation(
        "10.22",
        "the gradient with respect to c",
        "∇c L = Σ_t ∇o(t) L",
        r"\nabla_c L = \sum_t \nabla_{o^{(t)}} L",
        (Part("d_c", "∇c", r"\nabla_c L"),),
        "all",
    ),
    Equation(
        "10.23",
        "the gradient with respect to b",
        "∇b L = Σ_t diag(1 - h(t)²) ∇h(t) L",
        r"\nabla_b L = \sum_t \operatorname{diag}\bigl(1 - (h^{(t)})^2\bigr) \nabla_{h^{(t)}} L",
        (Part("d_b", "∇b", r"\nabla_b L"),),
        "all",
    ),
    Equation(
        "10.24",
        "the gradient with respect to V",
        "∇V L = Σ_t (∇o(t) L) h(t)ᵀ",
        r"\nabla_V L = \sum_t (\nabla_{o^{(t)}} L)\, h^{(t)\top}",
        (Part("d_V", "∇V", r"\nabla_V L"),),
        "all",
    ),
    Equation(
        "10.25",
        "the gradient with respect to W, step by step: W(t) is the copy that step t uses",
        "∇W L = Σ_t Σ_i (∂L/∂h_i(t)) ∇W(t) h_i(t)",
        r"\nabla_W L = \sum_t \sum_i \Bigl(\frac{\partial L}{\partial h_i^{(t)}}\Bigr)"
        r" \nabla_{W^{(t)}} h_i^{(t)}",
        (Part("d_W_t", "∇W", r"\nabla_W L"),),
    ),
    Equation(
        "10.26",
        "the same, as one sum of products",
        "∇W L = Σ_t diag(1 - h(t)²) (∇h(t) L) h(t-1)ᵀ",
        r"\nabla_W L = \sum_t \operatorname{diag}\bigl(1 - (h^{(t)})^2\bigr)"
        r" (\nabla_{h^{(t)}} L)\, h^{(t-1)\top}",
        (Part("d_W", "∇W", r"\nabla_W L"),),
        "all",
    ),
    Equation(
        "10.27",
        "the gradient with respect to U, step by step",
        "∇U L = Σ_t Σ_i (∂L/∂h_i(t)) ∇U(t) h_i(t)",
        r"\nabla_U L = \sum_t \sum_i \Bigl(\frac{\partial L}{\partial h_i^{(t)}}\Bigr)"
        r" \nabla_{U^{(t)}} h_i^{(t)}",
        (Part("d_U_t", "∇U", r"\nabla_U L"),),
    ),
    Equation(
        "10.28",
        "the same, as one sum of products",
        "∇U L = Σ_t diag(1 - h(t)²) (∇h(t) L) x(t)ᵀ",
        r"\nabla_U L = \sum_t \operatorname{diag}\bigl(1 - (h^{(t)})^2\bigr)"
        r" (\nabla_{h^{(t)}} L)\, x^{(t)\top}",
        (Part("d_U", "∇U", r"\nabla_U L"),),
        "all",
    ),
    Equation(
        "Q1",
        "the gradient with respect to o as a matrix times y is that of 10.18",
        "∇o(t) L = (ŷ 1ᵀ - I) y = ŷ Σy - y",
        r"\nabla_{o^{(t)}} L = (\hat y \mathbf 1^\top - I)\, y = \hat y \textstyle\sum_j y_j - y",
        (Part("matrix_times_y", "(ŷ1ᵀ - I)y", r"(\hat y \mathbf 1^\top - I) y", "d_o"),),
    ),
    Equation(
        "Q2",
        "the Jacobian of ŷ in h",
        "∂ŷ(t)/∂h(t) = (diag(ŷ) - ŷ ŷᵀ) V",
        r"\frac{\partial \hat y^{(t)}}{\partial h^{(t)}} ="
        r" \bigl(\operatorname{diag}(\hat y) - \hat y \hat y^\top\bigr) V",
        (Part("jacobian", "∂ŷ/∂h", r"\partial \hat y / \partial h"),),
    ),
    Equation(
        "Q3",
        "the factor ŷ_i of that Jacobian cancels: what is left is 10.19",
        "Σ_i (-y_i/ŷ_i) ∂ŷ_i/∂h_j = (Vᵀ ∇o(t) L)_j",
        r"\sum_i \Bigl(-\frac{y_i}{\hat y_i}\Bigr) \frac{\partial \hat y_i}{\partial h_j}"
        r" = (V^\top \nabla_{o^{(t)}} L)_j",
        (Part("by_way_of_y_hat", "Σ", r"\textstyle\sum", "from_output"),),
    ),
)
"""Equations 10.8 to 10.28 in their order, and after them Q1 to Q3."""
