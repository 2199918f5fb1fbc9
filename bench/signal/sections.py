"""RESULTS.md in sections: what was measured anew replaces its section, the others stay.

A section was written by one run, and says when, where and on how much; so ratios hold within a
section, and a file may be put together in pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

VERSIONS = "Versions and what was left out"


def merged(head: str, before: str, new: Mapping[str, str], order: Sequence[str]) -> str:
    """`head`, then the sections of `before` and `new` by title (without its "## "), those of
    `new` in place of those of the same title; in the order of the beginnings of titles."""
    found = {**parsed(before), **new}
    if VERSIONS in new:
        found[VERSIONS] = _by_name(parsed(before).get(VERSIONS, ""), new[VERSIONS])

    def place(title: str) -> tuple[int, str]:
        return next((n for n, begin in enumerate(order) if title.startswith(begin)),
                    len(order)), title

    parts = [head.strip(), *(f"## {title}\n\n{found[title].strip()}"
                             for title in sorted(found, key=place) if found[title].strip())]
    return "\n\n".join(parts) + "\n"


def parsed(text: str) -> dict[str, str]:
    """{title: body} of a file's sections; what stands before the first is left out."""
    found: dict[str, str] = {}
    for part in text.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        found[title.strip()] = body.strip()
    return found


def _by_name(before: str, new: str) -> str:
    """Lists of "- name: ..." of which the newer wins by name; failures are those of the new."""
    lines = {line.partition(":")[0]: line for line in before.splitlines()
             if line.startswith("- ") and not line.startswith("- failed")}
    failed = [line for line in new.splitlines() if line.startswith("- failed")]
    lines |= {line.partition(":")[0]: line for line in new.splitlines()
              if line.startswith("- ") and line not in failed}
    return "\n".join([*lines.values(), *failed])
