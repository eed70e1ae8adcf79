"""Sources of batches, optimizers and callbacks of a run."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import portable_rnn as prnn
from portable_rnn.batches import Batch

from .arrays import arrays
from .scalars import flag
from .values import Place, Value, Verdict, junk, kind, of, optional


@kind("source")
def source(place: Place) -> list[Value]:
    good = place.value

    class Own:
        steps_per_epoch = 2

        def batch(self, step: int) -> Batch:
            return good.batch(step)

        def describe(self) -> dict[str, Any]:
            return {"kind": "own"}

    def without(name: str) -> Any:
        kept = {n: f for n, f in vars(Own).items() if n not in (name, "__dict__", "__weakref__")}
        return type("Own", (), kept)()

    def changed(**members: Any) -> Callable[[], Any]:
        return lambda: type("Own", (Own,), members)()

    def returning(make: Callable[[Batch], Any]) -> Callable[[], Any]:
        return changed(batch=lambda self, step: make(good.batch(step)))

    trained: Verdict = "refused"  # only evaluation uses the length of an epoch
    where = (place.function, place.argument)
    if where in (("training.train", "batches"), ("batches.Prefetched", "source")):
        trained = "taken"
    own = [
        Value("its class", of(prnn.batches.Shuffled)),
        Value("a function", of(lambda step: good.batch(step))),
        Value("one of its own", Own, "taken"),
        # Only what is saved has to be described.
        Value("without batch", lambda: without("batch")),
        Value("without describe", lambda: without("describe"), "taken"),
        Value("without steps_per_epoch", lambda: without("steps_per_epoch"), trained),
        Value("batch is no function", changed(batch=3)),
        Value("batch of nothing", changed(batch=lambda self: None)),
        Value("batch_axis 2", changed(batch_axis=2)),
        Value("batch_axis of the other layout", changed(batch_axis=0)),
        *(
            Value(f"steps_per_epoch {label}", changed(steps_per_epoch=value), trained)
            for label, value in (("0", 0), ("-1", -1), ("None", None), ("1.5", 1.5), ("text", "2"))
        ),
        *(
            Value(f"describes {label}", changed(describe=lambda self, value=value: value), verdict)
            for label, value, verdict in (
                ("a list", [1], "taken"),
                ("None", None, "taken"),
                ("an array", {"a": np.ones(3)}, "taken"),
            )
        ),
        Value("returns None", returning(lambda b: None)),
        Value("returns a dict", returning(lambda b: b._asdict())),
        Value("returns a plain tuple", returning(lambda b: tuple(b))),
        Value("returns a pair", returning(lambda b: (b.x, b.targets))),
    ]
    if place.function == "batches.Prefetched":  # it reads ahead what others look at
        looked_at = ("its class", "a function", "without batch", "batch is no function")
        return [
            v if v.label in looked_at else v._replace(verdict="taken")
            for v in (*junk(), *own)
            if not v.label.startswith(("returns", "batch of"))
        ]
    for name, kept in (("x", False), ("targets", False), ("weights", True), ("lengths", True)):
        given = (
            place.valid.row.put(np.asarray(getattr(good.batch(0), name)))
            if name == "lengths"
            else getattr(good.batch(0), name)
        )
        for v in (*junk(), *arrays(place, given)):
            verdict: Verdict = "taken" if v.verdict == "taken" else "misfit"
            if (kept and v.label == "None") or (name == "lengths" and v.label == "a list"):
                verdict = "taken"
            fine = ("bool", "int64", "uint8", "float64", "float32", "of the other byte order")
            if (name != "x" and v.label in fine) or (name == "lengths" and "library" in v.label):
                verdict = "taken"
            own.append(
                Value(
                    f"returns {name} {v.label}",
                    returning(lambda b, name=name, v=v: b._replace(**{name: v.make()})),
                    verdict,
                )
            )
    for v in flag(place):
        verdict = "taken" if v.verdict == "taken" else "misfit"
        own.append(
            Value(
                f"returns fresh {v.label}",
                returning(lambda b, v=v: b._replace(fresh=v.make())),
                verdict,
            )
        )
    return junk() + own


@kind("optional source")
def optional_source(place: Place) -> list[Value]:
    return optional(source)(place)


@kind("optimizer")
def optimizer(place: Place) -> list[Value]:
    adam = prnn.optimizers.adam

    def returning(change: Callable[..., Any]) -> Callable[..., Any]:
        def optimizer(params: Any, grads: Any, state: Any, *, lr: Any) -> Any:
            return change(*adam(params, grads, state, lr=lr))

        return optimizer

    own = [
        Value("of three alone", of(lambda params, grads, state: (params, state))),
        Value("its result", of(({}, {}))),
        Value("the class dict", of(dict)),
        Value("returns nothing", of(returning(lambda params, state: None))),
        Value("returns params", of(returning(lambda params, state: params))),
        Value("returns no params", of(returning(lambda params, state: (None, state)))),
        Value("returns fewer params", of(returning(lambda params, state: ({}, state)))),
        Value("returns three", of(returning(lambda params, state: (params, state, 1)))),
        # The state may be anything: only the optimizer reads it.
    ]
    return junk() + own


@kind("metrics of a run")
def metrics_of_a_run(place: Place) -> list[Value]:
    accuracy = prnn.metrics.Accuracy

    class Half:
        def measure(self, outputs: Any, targets: Any, *, weights: Any = None) -> Any:
            return outputs

    class Wrong(accuracy):
        def measure(self, outputs: Any, targets: Any, *, weights: Any = None) -> Any:
            return outputs

    class Silent(accuracy):
        def combine(self, measured: Any) -> Any:
            return None

    own = [
        Value("a name", of(["accuracy"]), "taken"),
        Value("an object by name", of({"right": accuracy()}), "taken"),
        Value("a name by name", of({"right": "accuracy"}), "taken"),
        Value("a name alone", of("accuracy")),
        Value("an unknown name", of(["acuracy"])),
        Value("an object alone", of(accuracy())),
        Value("a list of objects", of([accuracy()])),
        Value("the class of one", of({"right": accuracy})),
        Value("a function", of({"right": lambda outputs, targets: 1.0})),
        Value("half of one", lambda: {"right": Half()}),
        Value("one that measures outputs", lambda: {"right": Wrong()}),
        Value("one that returns nothing", lambda: {"right": Silent()}),
        Value("one called loss", of({"loss": accuracy()})),
        Value("one of numbers", of(["mae"]), "misfit"),
    ]
    return junk(taken=("None", "[]", "()", "{}", "''", "an empty array")[:4]) + own


@kind("own function")
def own_function(place: Place) -> list[Value]:
    own = [
        Value("of nothing", of(lambda: None)),
        Value("of two", of(lambda params, batch: None)),
        Value("the class dict", of(dict)),
        Value("returns nothing", of(lambda params, batch, state: None), "misfit"),
    ]
    return junk(taken=("None",)) + own


@kind("client")
def client(place: Place) -> list[Value]:
    return [*junk(), Value("half of one", of(SimpleNamespace(submit=print, gather=print)))]


@kind("loader")
def loader(place: Place) -> list[Value]:
    return [*junk(), Value("of three", of(lambda step, shard, more: None))]


@kind("all-reduce")
def all_reduce(place: Place) -> list[Value]:
    own = [
        Value("of two", of(lambda vector, group: vector)),
        Value("returns nothing", of(lambda vector: None)),
        Value("returns a part", of(lambda vector: vector[:2])),
        Value("returns a list", of(lambda vector: [vector])),
    ]
    return junk() + own


@kind("whether to show")
def whether_to_show(place: Place) -> list[Value]:
    own = [Value("'auto'", of("auto"), "taken"), Value("'never'", of("never"))]
    return junk(taken=("True", "False", "NumPy's True")) + own


@kind("name of a column")
def name_of_a_column(place: Place) -> list[Value]:
    return [*junk(), Value("'loss'", of("loss"), "taken"), Value("'step'", of("step"))]


@kind("run of another package")
def run_of_another_package(place: Place) -> list[Value]:
    class Deaf:
        log = None

    return [*junk(taken=("None",)), Value("without log", lambda: Deaf())]


@kind("optimizer of a loss")
def optimizer_of_a_loss(place: Place) -> list[Value]:
    return [v for v in optimizer(place) if not v.label.startswith("returns")]  # it takes no step


@kind("optimizers by name")
def optimizers_by_name(place: Place) -> list[Value]:
    adam = prnn.optimizers.adam
    own = [
        Value("no optimizer", of({"*": 3})),
        Value("a number as pattern", of({1: adam})),
        Value("an empty pattern", of({"": adam})),
        Value("a pattern of nothing", of({"a pattern": adam, "*": adam})),
        Value("no pattern for some", of({"weight*": adam})),
        Value("pairs", of([("*", adam)])),
        Value("an optimizer", of(adam)),
        Value("all frozen", of({"*": None}), "taken"),
    ]
    return junk() + own


@kind("state with a scale")
def state_with_a_scale(place: Place) -> list[Value]:
    # NumPy's numbers of float32 are arrays of shape (), and a scale like any other.
    own = [
        Value(f"scale {v.label}", lambda v=v: place.value | {"scale": v.make()}, v.verdict)
        for v in junk(taken=("NumPy's 0.5",))
    ]
    return junk(taken=("None",)) + own + [Value("no scale", of({"step": 1}))]


@kind("transformation")
def transformation(place: Place) -> list[Value]:
    init, update = place.value.init, place.value.update
    own = [
        Value("init alone", of(SimpleNamespace(init=init))),
        Value("update alone", of(SimpleNamespace(update=update))),
        Value("a plain pair", of((init, update))),
        Value("functions of nothing", of(SimpleNamespace(init=lambda: 0, update=lambda: 0))),
    ]
    return junk() + own


@kind("run")
def run(place: Place) -> list[Value]:
    model, params = place.valid.model, place.valid.params
    own = [Value("without evaluations", lambda: prnn.training.Run(model, params, 3))]
    return junk() + own


@kind("callbacks")
def callbacks(place: Place) -> list[Value]:
    class Half:
        def on_start(self, run: Any) -> None: ...

    class Wrong(prnn.training.Callback):
        def on_step(self) -> None: ...  # type: ignore[override]

    own = [
        Value("one alone", of(prnn.training.Callback())),
        Value("its class", of(prnn.training.Callback)),
        Value("a list of the class", of([prnn.training.Callback])),
        Value("a list of objects", lambda: [object()]),
        Value("a list of functions", of([lambda run: None])),
        Value("a list of half of one", lambda: [Half()]),
        Value("a method of no argument", lambda: [Wrong()]),
        Value("a generator of them", lambda: (prnn.training.Callback() for _ in "ab"), "taken"),
    ]
    return junk(taken=("[]", "()", "{}", "''", "an empty array")) + own


@kind("encode")
def encode(place: Place) -> list[Value]:
    own = [Value("of two", of(lambda x, y: x)), Value("as it is", of(lambda x: x), "taken")]
    return junk(taken=("None", "a class", "a faulty object")[:2]) + own
