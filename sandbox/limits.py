"""What one execution may use. The only home of these numbers.

The server's settings replace some of them at the start; the floors below receive the values.
"""

from dataclasses import dataclass

MIB = 2**20

SOURCE_CHARS = MIB  # longest code and stdin of one execution
LEAST_RUN_MIB = 64  # memory that a run may ask for
LOOK_UP_S = 0.5  # for completion and inspection
LEAST_SUBMISSION_MIB = 16
ESCAPED_BYTES = 12  # the most that JSON needs for a character
REQUEST_FRAME_BYTES = 1 + 4 * SOURCE_CHARS  # the errand, and UTF-8
ANSWER_FRAME_BYTES = 16 * MIB  # rich outputs, apart from the result, whose bound is a setting


@dataclass(frozen=True, slots=True)
class Limits:
    wall_s: float = 2.0
    grace_s: float = 0.2  # from the interrupt to the kill; the answer is promised 0.3 s after the limit
    memory_bytes: int = 100 * MIB  # growth over what the session held at birth
    memory_slack_bytes: int = 8 * MIB  # pages mapped at birth and touched later, which the ceiling lets pass
    output_bytes: int = MIB  # each for stdout, stderr and the repr of the result
