"""Sections of RESULTS.md from the JSON files of the benchmarks."""

from collections.abc import Mapping
from typing import Any

from timing import Timing, cell_text

RATIO = ", ratio"


def section(record: Mapping[str, Any]) -> str:
    """Section with title, command, environment and table, from a file that `timing.report` wrote.

    Args:
        record: content of the JSON file.

    Returns:
        Markdown. Ratios are in bold behind their times.
    """
    rows = [merge_ratios({name: text_of(value) for name, value in row.items()}) for row in record["rows"]]
    where = ", ".join(f"{name} {value}" for name, value in record["environment"].items())
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {record['title']}\n\n`{record['command']}`: {where}.\n\n{table}\n"


def text_of(value: Any) -> str:
    """Text of a cell; a timing, which JSON holds as a mapping, has its number of repeats too."""
    if isinstance(value, Mapping):
        return f"{Timing(**value)}, n = {value['repeats']}"
    return cell_text(value)


def merge_ratios(row: Mapping[str, str]) -> dict[str, str]:
    """Row with each `NAME, ratio` merged into the column `NAME`, if there is one."""
    merged = {name: text for name, text in row.items() if not is_ratio(name, row)}
    for name in merged:
        ratio = row.get(name + RATIO, "-")
        if ratio != "-":
            merged[name] += f", **{ratio}**"
    return merged


def is_ratio(name: str, row: Mapping[str, str]) -> bool:
    """True if the column holds the ratio of another column."""
    return name.endswith(RATIO) and name.removesuffix(RATIO) in row
