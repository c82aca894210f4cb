"""The tiers of workers: which libraries a worker finds loaded at its birth, and which tier a program needs."""

from collections.abc import Iterable

_ALWAYS = (
    "asyncio collections.abc concurrent.futures contextlib copy csv dataclasses datetime decimal enum fractions "
    "functools hashlib heapq inspect io itertools json math operator pathlib pickle pprint random re secrets "
    "statistics string struct subprocess tempfile textwrap threading time traceback typing unittest urllib.request "
    "uuid zoneinfo"
)
_NUMPY = "numpy numpy.linalg numpy.fft numpy.random"
_ALL = (
    "pandas sympy matplotlib.pyplot matplotlib.backends.backend_agg scipy.stats scipy.optimize scipy.linalg "
    "scipy.integrate scipy.interpolate scipy.signal scipy.sparse.linalg scipy.spatial scipy.ndimage scipy.fft "
    "sklearn.linear_model sklearn.cluster sklearn.ensemble sklearn.tree sklearn.svm sklearn.neighbors "
    "sklearn.model_selection sklearn.preprocessing sklearn.metrics sklearn.decomposition sklearn.datasets "
    "sklearn.pipeline sklearn.naive_bayes"
)
# The smallest first; each holds what the ones before it hold.
TIERS = {"plain": _ALWAYS, "numpy": f"{_ALWAYS} {_NUMPY}", "all": f"{_ALWAYS} {_NUMPY} {_ALL}"}
SCIENTIFIC = ("sympy", "numpy", "pandas", "matplotlib", "scipy", "sklearn")


def needed(packages: Iterable[str]) -> str:
    """The smallest tier that has loaded the scientific ones of these packages."""
    scientific = set(SCIENTIFIC).intersection(packages)
    if not scientific:
        return "plain"
    return "numpy" if scientific == {"numpy"} else "all"
