"""Which compiler flags a submission may ask for: standards, warnings, optimisation, sanitizers. Nothing that names a
file or reaches another program.
"""

import re
from collections.abc import Sequence

from judge.errors import BadFlag

MOST_FLAGS = 32
DEFAULT = ("-Wall",)
_ALLOWED = re.compile(
    r"""
      -std=(?:c|gnu)(?:89|90|99|9x|11|1x|17|18|2x|iso9899:(?:1990|199409|1999|2011|2017|2018)) | -ansi
    | -pedantic(?:-errors)? | -w
    | -W(?!a$|l$|p$)[a-z][a-z0-9+-]*(?:=[a-z0-9+-]+)?      # no comma: -Wl,… and its like are for other programs
    | -O(?:[0-3sg]|fast)? | -g[0-3]?
    | -fsanitize=(?:address|undefined|leak)(?:,(?:address|undefined|leak))*
    | -f(?:no-)?(?:omit-frame-pointer|strict-aliasing|wrapv|trapv|signed-char|unsigned-char|stack-protector|
        stack-protector-all|stack-protector-strong|builtin|common|short-enums|math-errno)
    | -funsigned-char | -lm | -trigraphs
    """,
    re.VERBOSE,
)
PATTERN = "^(?:" + re.sub(r"#.*|[ \n]", "", _ALLOWED.pattern) + ")$"  # for other readers of regular expressions
_SANITIZES = re.compile("-fsanitize=.*")


def check(flags: Sequence[str]) -> None:
    """Raises BadFlag for one that is not allowed."""
    if len(flags) > MOST_FLAGS:
        raise BadFlag(f"there are more than {MOST_FLAGS} flags")
    for flag in flags:
        if not _ALLOWED.fullmatch(flag) or len(flag) > 100:
            raise BadFlag(
                f"the flag {flag[:40]!r} is not allowed: only -std=, -W, -pedantic, -O, -g and -fsanitize= are"
            )


def sanitizes(flags: Sequence[str]) -> bool:
    return any(_SANITIZES.fullmatch(flag) for flag in flags)
