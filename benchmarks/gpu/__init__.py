"""All that a GPU must be asked, by one command: ``python -m benchmarks.gpu`` (``nox -s gpu``).

Stages run one after another, each in a process of its own: one that fails, hangs or breaks the
device does not keep the others from running. What they found is one JSON file (``schema.md``) and
one page. With ``--rehearse`` all stages run on the emulated device, with tiny sizes: this shows
that they work, and no time that is found then means anything.
"""
