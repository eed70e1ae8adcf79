"""Callbacks that pass on what a run measures."""

import sys
import types

import pytest

from portable_rnn.training import History, MLflow, TensorBoard, WandB, train

from .runs import MODEL, source


def go(*callbacks, **options):
    given = {"metrics": ["accuracy"], "max_norm": 1.0, "validation": source(seed=9)}
    given |= {"log_every": 4, "evaluate_every": 6, "steps": 12}
    return train(MODEL, MODEL.init(seed=0), source(), callbacks=callbacks, **given | options)


def test_a_history_has_a_row_for_each_step_at_which_something_is_measured():
    history = History()
    run = go(history)
    assert [row["step"] for row in history.rows] == [4, 6, 8, 12]
    names = {"step", "loss", "accuracy", "gradient_norm", "learning_rate"}
    assert set(history.rows[0]) == names
    assert set(history.rows[1]) == {"step", "validation_loss", "validation_accuracy"}
    assert history.rows[3]["loss"] == run.loss
    assert history.rows[3]["gradient_norm"] == run.gradient_norm
    assert history.column("validation_loss") == (
        [6, 12],
        [history.rows[1]["validation_loss"], run.evaluation],
    )
    with pytest.raises(
        ValueError, match=r"name: expected 'accuracy', .*got 'acuracy'; did you mean"
    ):
        history.column("acuracy")
    with pytest.raises(ValueError, match="nothing was yet"):
        History().column("loss")


def rows(history):
    return [(row["step"], {k: v for k, v in row.items() if k != "step"}) for row in history.rows]


def test_weights_and_biases_is_given_all_that_is_measured(monkeypatch):
    logged, finished = [], []
    own = types.SimpleNamespace(
        log=lambda values, step: logged.append((step, values)), finish=lambda: finished.append(1)
    )
    options = []
    package = types.SimpleNamespace(init=lambda **given: options.append(given) or own)
    monkeypatch.setitem(sys.modules, "wandb", package)
    go(history := History(), WandB(project="parity"))
    assert merged(logged) == rows(history)
    assert (options, finished) == ([{"project": "parity"}], [1])
    logged.clear()
    go(WandB(own))
    assert merged(logged) == rows(history)
    assert finished == [1]  # a run of the user's is the user's to finish
    with pytest.raises(TypeError, match="run: expected no other options with it, got project"):
        WandB(own, project="parity")


def merged(logged):
    found = {}
    for step, values in logged:
        found.setdefault(step, {}).update(values)
    return list(found.items())


def test_mlflow_is_given_all_that_is_measured(monkeypatch):
    logged = []
    package = types.SimpleNamespace(
        log_metrics=lambda values, step: logged.append((step, values)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", package)
    go(history := History(), MLflow())
    assert merged(logged) == rows(history)


@pytest.mark.parametrize("logger", [WandB, MLflow, lambda: TensorBoard("runs")])
def test_a_package_that_is_not_installed_is_named_before_the_first_step(logger, monkeypatch):
    for name in ("wandb", "mlflow", "tensorboard", "tensorboard.summary"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"callbacks: expected (\w+) to be .*pip install \1"):
        go(logger())


def test_tensorboard_has_all_that_is_measured(tmp_path):
    summary = "tensorboard.backend.event_processing.event_accumulator"
    events = pytest.importorskip(summary, reason="not run: tensorboard is not installed")
    go(history := History(), TensorBoard(tmp_path / "new" / "folder"))
    read = events.EventAccumulator(str(tmp_path / "new" / "folder")).Reload()
    names = {name for row in history.rows for name in row} - {"step"}
    assert names == set(read.Tags()["tensors"])
    for name in names:
        steps, values = history.column(name)
        found = read.Tensors(name)
        assert [one.step for one in found] == steps
        got = [one.tensor_proto.float_val[0] for one in found]
        assert got == pytest.approx(values)
