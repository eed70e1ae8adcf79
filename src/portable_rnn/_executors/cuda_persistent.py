"""The whole recurrence of a layer in one kernel of CUDA C, its weights in shared memory.

All steps run in a loop on the device; between two of them the blocks of a group exchange what each
has computed, by global memory and a barrier. What a thread needs of its units stays in its
registers: states, biases, the cell's own vectors, and going back the cotangents of states.

A launch runs ``count`` steps, from ``begin`` on. Launches of one step each, which wait for nothing
and so can be the nodes of a graph, compute the same bits as one of all.
"""

from collections.abc import Iterable

from . import cuda_loops
from .cuda_barrier import BARRIERS, PTX
from .cuda_cell import arithmetic, expressions
from .cuda_plan import Plan
from .cuda_product import PRODUCTS, SIZES
from .program import Leaf, Program

__all__ = ["BACKWARD", "FORWARD", "source"]

# Names of the kernels.
FORWARD, BACKWARD = "persistent_forward", "persistent_backward"


def source(program: Program, plan: Plan, *, scaled: bool = False) -> str:
    """Return a module with the kernels ``persistent_forward`` and ``persistent_backward``.

    Arrays are contiguous, of the plan's dtype but for words, of 32 bits, and ``d_state``, which
    holds what arithmetic computes (float32 for half precision); states (S, T+1, B, H), stored
    (R, T, B, H), ``ax`` and its cotangents (T, B, G·H), ``d_own`` (T, B, k·H). Updates (T, B, H)
    and ``d_y`` have strides, counted in numbers. Biases, ``d_y`` and ``stored`` (where nothing is
    kept) may be null. The first state is in ``states``; ``d_state`` is of the state after all steps
    and becomes that of the state before.

    Parameters
    ----------
    program : Program
    plan : Plan
    scaled : bool
        Whether what the recurrent weights multiply is the hidden state times a factor.
    """
    parts = (
        arithmetic(plan.dtype),
        PTX,
        _constants(program, plan, scaled=scaled),
        BARRIERS[plan.barrier],
        PRODUCTS[plan.dtype],
        _types(plan),
        cuda_loops.COMMON,
        _Forward(program, plan, scaled).text(cuda_loops.FORWARD),
        _Backward(program, plan, scaled).text(cuda_loops.BACKWARD),
    )
    return "\n".join(parts)


def _constants(program: Program, plan: Plan, *, scaled: bool) -> str:
    numbers = {
        "H": plan.units,
        "HP": plan.padded,
        "G": plan.gates,
        "C": plan.blocks,
        "U": plan.block_units,
        "BT": plan.sequences,
        "NT": plan.threads,
        "ITEMS": plan.items,
        "CHUNK": plan.chunk,
        "V": 16 // SIZES[plan.dtype],
        "SCALED": int(scaled),
        "OWN": program.own,
        # One block that has all cotangents in shared memory writes them there.
        "DIRECT": int(plan.blocks == 1 and plan.chunk == plan.gates),
    }
    for name, back in (("FORWARD", False), ("BACKWARD", True)):
        numbers[f"SW_{name}"], numbers[f"SX_{name}"] = plan.strides(back=back)
    return "constexpr int " + ", ".join(f"{name} = {n}" for name, n in numbers.items()) + ";"


def _types(plan: Plan) -> str:
    lines = []
    for name, each, columns in (
        ("Forward", plan.forward, "HP"),
        ("Backward", plan.backward, "CHUNK * HP"),
    ):
        strides = f"SW_{name.upper()}, SX_{name.upper()}"
        numbers = f"{each.rows}, {columns}, {strides}, {each.tm}, {each.tn}, {each.ks}"
        lines.append(f"typedef Product<{numbers}> {name};")
    return "\n".join(lines)


class _Kernel:
    """What both kernels have in common: which numbers are read when, and from where."""

    name, back = "Forward", False

    def __init__(self, program: Program, plan: Plan, scaled: bool) -> None:
        self.program, self.plan, self.scaled = program, plan, scaled
        self.fixed: dict[str, str] = {}  # what stays the same in all steps
        self.early: list[str] = []  # read before the barrier
        self.chosen: list[str] = []
        self.updates = range(program.states if program.held else 0)

    def fix(self, expression: str) -> str:
        """Return where a number is that is read once."""
        places = list(self.fixed)
        number = places.index(expression) if expression in places else len(places)
        self.fixed[expression] = f"fixed[p][{number}]"
        return self.fixed[expression]

    def read_early(self, expression: str) -> str:
        """Return where a number is that is read before the barrier."""
        self.early.append(expression)
        return f"early[p][{len(self.early) - 1}]"

    def own(self, block: int) -> str:
        """Return the cell's own vectors' number."""
        return self.fix(f"T(own[{block} * H + unit])")

    def update(self, state: int) -> str:
        """Return the update of a state: a boolean or a number."""
        strides = "t * update{0}_step + row * update{0}_row + unit * update{0}_unit"
        expression = f"update{state}[{strides.format(state)}]"
        if self.program.held == "mix":
            return self.read_early(f"T({expression})")
        self.chosen.append(f"chosen[p][{state}] = {expression};")
        return f"chosen[p][{state}]"

    def leaf(self, leaf: Leaf) -> str:
        """Return where a step finds a number."""
        raise NotImplementedError

    def cell(self) -> list[str]:
        """Return the statements of a step for one unit."""
        raise NotImplementedError

    def text(self, template: str) -> str:
        """Return the kernel."""
        plan, cell = self.plan, self.cell()
        kind = "bool" if self.program.held == "choose" else "S"
        updates = [
            f"const {kind}* __restrict__ update{i}, long long update{i}_step, "
            f"long long update{i}_row, long long update{i}_unit,"
            for i in self.updates
        ]
        exchanged = "d_ax" if self.program.same else "d_ah"
        if self.back:
            handed = "Backward::sum(total, b, u)"
            handed = f"{handed} * {self.fix('T(scale[at])')}" if self.scaled else handed
        else:
            handed = ""
        fixed = [f"{place} = {found};" for found, place in self.fixed.items()]
        early = [f"early[p][{i}] = {found};" for i, found in enumerate(self.early)]
        upper = self.name.upper()
        values = {
            "$BEGIN": cuda_loops.BEGIN,
            "$PLACE": cuda_loops.PLACE.strip(),
            "$UPDATES": _lines(updates, 4),
            "$FIXED_COUNT": str(max(1, len(fixed))),
            "$EARLY_COUNT": str(max(1, len(early))),
            "$FIXED": _lines(fixed, 4),
            "$EARLY": _lines((*early, *self.chosen), 6),
            "$CELL": _lines(cell, 6),
            "$STATES": str(self.program.states),
            "$EXCHANGED": exchanged,
            "$HANDED_BACK": handed,
            "$TILE": self.name,
            "$SW": f"SW_{upper}",
            "$SX": f"SX_{upper}",
            "$PARTS": str((plan.backward if self.back else plan.forward).parts),
            "$BYTES": str(plan.shared(back=self.back)),
            "$NT": str(plan.threads),
            "$CLUSTER": f"__cluster_dims__({plan.blocks}, 1, 1)"
            if plan.barrier == "cluster"
            else "",
        }
        for name, value in values.items():
            template = template.replace(name, value)
        return template


class _Forward(_Kernel):
    def leaf(self, leaf: Leaf) -> str:
        name, i = leaf
        if name == "ax":
            at = f"ax[((long long)t * batch + row) * (G * H) + {i} * H + unit]"
            return self.read_early(f"T({at}) + {self._bias('ax', i)}")
        if name == "ah":
            return f"Forward::sum(total, b, {i} * U + u) + {self._bias('ah', i)}"
        if name == "state":
            return f"state[p][{i}]"
        return self.own(i) if name == "own" else self.update(i)

    def _bias(self, name: str, gate: int) -> str:
        return self.fix(f"bias_{name} ? T(bias_{name}[{gate} * H + unit]) : T(0)")

    def cell(self) -> list[str]:
        p = self.program
        lines, found = expressions(p, p.forward, self.leaf)
        for i, value in enumerate(found[: p.states]):
            at = f"states[({i} * (steps + 1LL) + after) * plane + at]"
            lines.append(f"const S new{i} = S({value});")
            lines.append(f"{at} = new{i}; state[p][{i}] = T(new{i});")
        scale = self.fix("T(scale[at])") if self.scaled else ""
        h = f"S(T(new0) * {scale})" if scale else "new0"
        lines.append(f"if (C == 1) x[b * SX_FORWARD + unit] = {h};")
        for r, value in enumerate(found[p.states :]):
            at = f"stored[({r} * (long long)steps + t) * plane + at]"
            lines.append(f"if (stored) {at} = S({value});")
        return lines


class _Backward(_Kernel):
    name, back = "Backward", True

    def leaf(self, leaf: Leaf) -> str:
        name, i = leaf
        if name == "d":
            if i:
                return f"d[p][{i}]"
            at = "d_y[t * d_y_step + row * d_y_row + unit * d_y_unit]"
            return f"d[p][0] + {self.read_early(f'd_y ? T({at}) : T(0)')}"
        if name == "stored":
            at = f"stored[({i} * (long long)steps + t) * plane + at]"
            return self.read_early(f"T({at})")
        if name in ("state", "new"):
            when = "after" if name == "new" else "before"
            at = f"states[({i} * (steps + 1LL) + {when}) * plane + at]"
            return self.read_early(f"T({at})")
        return self.own(i) if name == "own" else self.update(i)

    def cell(self) -> list[str]:
        p = self.program
        lines, found = expressions(p, p.backward, self.leaf)
        values = iter(found)
        exchanged = "d_ax" if p.same else "d_ah"
        for name in ("d_ax",) if p.same else ("d_ax", "d_ah"):
            for g in range(p.gates):
                at = f"{name}[((long long)t * batch + row) * (G * H) + {g} * H + unit]"
                lines.append(f"const S {name}{g} = S({next(values)}); {at} = {name}{g};")
                if name == exchanged:
                    lines.append(f"if (DIRECT) x[b * SX_BACKWARD + {g} * HP + unit] = {name}{g};")
        for i, d in enumerate(p.d_state):
            lines.append(f"d[p][{i}] = {'T(0)' if d is None else next(values)};")
        for k in range(p.own):
            at = f"d_own[((long long)t * batch + row) * ({p.own} * H) + {k} * H + unit]"
            lines.append(f"{at} = S({next(values)});")
        return lines


def _lines(lines: Iterable[str], indent: int) -> str:
    return ("\n" + " " * indent).join(lines)
