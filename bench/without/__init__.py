"""Rules of the server taken away, one module each, to see what each is worth: never part of what is shipped.

`bench.application` calls `remove(app)` of the module that BENCH_WITHOUT names, in each worker, after the application
was made and before the worker begins to serve.
"""

from __future__ import annotations


def replace(owner: object, name: str, value: object) -> None:
    """Put *value* in the place of what *owner* calls *name*.

    :raises AttributeError: there is no such thing any more, so the rule must be somewhere else by now.
    """
    getattr(owner, name)
    setattr(owner, name, value)
