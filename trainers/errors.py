"""What a user can mend."""

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """A mistake in a command, a configuration or a file, which the user can mend.

    The message names the culprit and the remedy. Commands print `mlbridge COMMAND: error: MESSAGE` and exit with 2.
    """


class RanksLostError(Exception):
    """Another process of a distributed training is gone, or does not answer."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`", did you mean 'x'?"` for the known word nearest to `word`, or an empty text if none is near."""
    nearest = near_names(word, known)
    return f", did you mean '{nearest[0]}'?" if nearest else ""


def near_names(word: str, known: Iterable[str]) -> list[str]:
    """The known names that look like `word`, the nearest first; upper and lower case count as the same."""
    by_lower_case: dict[str, list[str]] = {}
    for name in known:
        by_lower_case.setdefault(name.lower(), []).append(name)
    matches = difflib.get_close_matches(word.lower(), by_lower_case, n=5, cutoff=0.6)
    return [name for match in matches for name in by_lower_case[match]]
