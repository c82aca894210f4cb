"""Useful code works inside the wall."""

import sys

import pytest

WORKS = {
    "threads": ("import threading\nout = []\nts = [threading.Thread(target=out.append, args=(n,)) for n in range(20)]\n"
                "[t.start() for t in ts]; [t.join() for t in ts]\nsorted(out) == list(range(20))", "True"),
    "thread pool": ("from concurrent.futures import ThreadPoolExecutor\n"
                    "with ThreadPoolExecutor(16) as pool: n = sum(pool.map(abs, range(100)))\nn", "4950"),
    "asyncio": ("import asyncio\nasync def f(n):\n    await asyncio.sleep(0.01)\n    return n\n"
                "async def g():\n    return await asyncio.gather(*map(f, range(5)))\nasyncio.run(g())", "[0, 1, 2, 3, 4]"),
    "linear algebra": ("import numpy as np\na = np.arange(9.0).reshape(3, 3) + 10 * np.eye(3)\n"
                       "bool(np.allclose(a @ np.linalg.inv(a), np.eye(3)))", "True"),
    "large matmul": ("import numpy as np\na = np.ones((500, 500))\nfloat((a @ a)[0, 0])", "500.0"),
    "scipy linalg": ("import scipy.linalg, numpy as np\nfloat(round(scipy.linalg.det(np.eye(4) * 2)))", "16.0"),
    "scipy optimize": ("from scipy.optimize import brentq\nround(brentq(lambda x: x * x - 2, 0, 2), 6)", "1.414214"),
    "fft": ("import numpy as np\nfloat(abs(np.fft.fft(np.ones(8)))[0])", "8.0"),
    "pandas": ("import io, pandas as pd\nint(pd.read_csv(io.StringIO('a,b\\n1,2\\n3,4')).a.sum())", "4"),
    "pandas time zones": ("import pandas as pd\nstr(pd.Timestamp('2024-07-01', tz='Europe/Berlin'))",
                          "'2024-07-01 00:00:00+02:00'"),
    "a png": ("import io, matplotlib.pyplot as plt\nplt.plot([1, 2]); b = io.BytesIO(); plt.savefig(b); plt.close()\n"
              "b.getvalue()[1:4]", "b'PNG'"),
    "an svg": ("import io, matplotlib.pyplot as plt\nplt.plot([1, 2]); b = io.BytesIO(); plt.savefig(b, format='svg')\n"
               "b'</svg>' in b.getvalue()", "True"),
    "a pdf": ("import io, matplotlib.pyplot as plt\nplt.plot([1, 2]); b = io.BytesIO(); plt.savefig(b, format='pdf')\n"
              "b.getvalue()[:4]", "b'%PDF'"),
    "KMeans": ("from sklearn.cluster import KMeans\nimport numpy as np\n"
               "k = KMeans(2, n_init=1, random_state=0).fit([[0.0], [0.1], [9.0]])\n"
               "bool(k.predict([[0.0]])[0] != k.predict([[9.0]])[0])", "True"),
    "regression": ("from sklearn.linear_model import LinearRegression\n"
                   "round(float(LinearRegression().fit([[0], [1], [2]], [1, 3, 5]).predict([[3]])[0]), 6)", "7.0"),
    "forest": ("from sklearn.ensemble import RandomForestClassifier\n"
               "int(RandomForestClassifier(10, random_state=0).fit([[0], [1]] * 9, [0, 1] * 9).predict([[1]])[0])", "1"),
    "sympy": ("import sympy\nx = sympy.Symbol('x')\nsympy.solve(x**2 - 4*x + 3)", "[1, 3]"),
    "zoneinfo": ("import zoneinfo, datetime\n"
                 "str(datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Asia/Tokyo')).utcoffset())", "'9:00:00'"),
    "decimal": ("from decimal import Decimal\nDecimal('0.1') + Decimal('0.2')", "Decimal('0.3')"),
    "hashlib": ("import hashlib\nhashlib.sha256(b'').hexdigest()[:8]", "'e3b0c442'"),
    "random": ("import random, secrets, uuid\n0 <= random.random() < 1 and len(secrets.token_hex(4)) == 8", "True"),
    "time": ("import time\ntime.time() > 1e9 and time.monotonic() > 0 and bool(time.localtime())", "True"),
    "sqlite in memory": ("import sqlite3\nsqlite3.connect(':memory:').execute('select 6 * 7').fetchone()", "(42,)"),
    "ctypes callback": ("import ctypes\nF = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)\nF(lambda n: n + 1)(41)", "42"),
    "own figures": ("import os, psutil\nos.cpu_count() > 0 and psutil.Process().memory_info().rss > 0", "True"),
    "a package that is not preloaded": ("import mpmath\nstr(mpmath.mpf(1) / 4)", "'0.25'"),
}  # fmt: skip

REFUSED = {
    "a process": "import multiprocessing as m\nm.Process(target=print).start()",
    "a pool": "import multiprocessing as m\nm.Pool(2)",
    "a process executor": "from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor(1).submit(abs, 1)",
    "a program": "import subprocess\nsubprocess.run(['true'])",
    "a connection": "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', 9))",
    "a temporary file": "import tempfile\ntempfile.TemporaryFile()",
}

# They need a screen or another system, or do something when imported.
NOT_IMPORTED = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "msilib", "winreg", "winsound",
                "nt", "ntpath", "msvcrt", "_winapi", "lib2to3", "test"}  # fmt: skip


@pytest.mark.parametrize("name", WORKS)
def test_useful_code_works(session, name):
    code, result = WORKS[name]
    answer = session(code, timeout=20)
    assert (answer["error"], answer["stderr"], answer["result"]) == (None, None, result)


@pytest.mark.parametrize("name", REFUSED)
def test_processes_and_connections_are_refused_at_once(session, name):
    answer = session(REFUSED[name], timeout=5)
    assert answer["error"] is None
    assert "PermissionError" in answer["stderr"]


def test_every_module_of_the_standard_library_can_be_imported(session):
    names = sorted(name for name in sys.stdlib_module_names - NOT_IMPORTED if not name.startswith("_"))
    code = (
        "import importlib, warnings\nwarnings.simplefilter('ignore')\nfailed = []\n"
        f"for name in {names!r}:\n    try:\n        importlib.import_module(name)\n"
        "    except ModuleNotFoundError:\n        pass\n    except BaseException as e:\n        failed.append((name, e))\n"
        "failed"
    )
    assert session(code, timeout=20)["result"] == "[]"
