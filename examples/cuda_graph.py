"""Train with CuPy, each step one launch of a CUDA graph.

    python examples/cuda_graph.py

The graph writes new parameters over the old ones, and reads each batch where the first one was.
"""

import portable_rnn as prnn

MODEL = prnn.RNN(input_size=8, hidden_size=32, output_size=4, cell="gru")


def update(params, state, x, labels, lr):
    """Take one step of training, and write the new values over the old ones."""
    result = prnn.bptt(MODEL, params, x, labels, grad_x=False)
    grads, norm = prnn.optimizers.clip_by_global_norm(result.grads, 1.0)
    new_params, new_state = prnn.optimizers.adam(params, grads, state, lr=lr)
    write(params, new_params)
    write(state, new_state)
    return result.loss, norm


def write(old, new):
    """Write the arrays of one dict, or dict of dicts, over those of another."""
    for name, value in new.items():
        if isinstance(value, dict):
            write(old[name], value)
        else:
            old[name][...] = value


def begin(xp):
    """Return parameters and the state of Adam, whose number of steps is on the device too."""
    params = MODEL.init(seed=0, xp=xp)
    zeros = {name: xp.zeros_like(array) for name, array in params.items()}
    _, state = prnn.optimizers.adam(params, zeros)
    return params, state | {"step": xp.asarray(0)}


def batches(xp, count, steps=20, batch=16):
    """Yield inputs, and as a label of each step the place of the largest of its last 4 inputs."""
    rng = xp.random.default_rng(0)
    for _ in range(count):
        x = rng.standard_normal((steps, batch, 8), dtype=xp.float32)
        yield x, x[..., 4:].argmax(axis=-1)


def main(xp, count=200):
    """Train, and return the loss of every 50th step."""
    params, state = begin(xp)
    x, labels = next(batches(xp, 1))
    lr = xp.asarray(0.01, dtype=xp.float32)
    step = prnn.executors.capture(update, params, state, x, labels, lr)
    losses = []
    for number, (inputs, targets) in enumerate(batches(xp, count)):
        x[...], labels[...] = inputs, targets
        lr[...] = 0.01 if number < count // 2 else 0.001
        loss, _ = step.launch()
        if number % 50 == 0:
            losses.append(float(loss))  # each launch writes over it
    return losses


if __name__ == "__main__":
    import cupy

    print(main(cupy))
