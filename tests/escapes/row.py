"""What a row of the table is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One attack. `code` runs in a session, after inside.py; `effect` is what shows outside when it gets through.

    The effects are the oracles of world.py and column.py, by name.
    """

    name: str
    family: str
    effect: str
    code: str
    open_without_wall: bool | None = True  # None: not always, or not everywhere
    tried_without_wall: bool = True  # False: it would reach the whole machine
    stopped_by: str = ""  # when it is not open: by what
    ordinary_stopped_by: str = ""  # open as root; what stops it for an ordinary user
    receiver: str = ""  # code for a second session, which is not told the secret that the first one has
    ends: str = ""  # behind the wall, what the answer's detail must say
    machine: str = ""  # the only architecture that it is written for
    step: str = ""  # the optional step that holds it; where that is absent, it is open
    module: str = ""  # needs this package
    busy: bool = False  # the server's own answers are timed meanwhile
    wall_s: float | None = None  # a time limit of its own
    after_s: float = 0.0  # look that long after the answer, too
