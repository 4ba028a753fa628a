"""A benchmark's record as the section of RESULTS.md that it becomes."""

from collections.abc import Mapping
from typing import Any

from timing import Timing, cell_text

RATIO = ", ratio"


def section(record: Mapping[str, Any]) -> str:
    """Title, command, environment and table of what `timing.report` wrote.

    Args:
        record: the JSON file's content.

    Returns:
        Markdown. A ratio stands in bold behind the time it belongs to.
    """
    rows = [merge_ratios({name: text_of(value) for name, value in row.items()}) for row in record["rows"]]
    where = ", ".join(f"{name} {value}" for name, value in record["environment"].items())
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {record['title']}\n\n`{record['command']}`: {where}.\n\n{table}\n"


def text_of(value: Any) -> str:
    """A cell; a timing comes back from JSON as the mapping of its fields, and gets the number of its repeats."""
    if isinstance(value, Mapping):
        return f"{Timing(**value)}, n = {value['repeats']}"
    return cell_text(value)


def merge_ratios(row: Mapping[str, str]) -> dict[str, str]:
    """Each `NAME, ratio` behind `NAME`, where there is such a column."""
    merged = {name: text for name, text in row.items() if not is_ratio(name, row)}
    for name in merged:
        ratio = row.get(name + RATIO, "-")
        if ratio != "-":
            merged[name] += f", **{ratio}**"
    return merged


def is_ratio(name: str, row: Mapping[str, str]) -> bool:
    """Whether the column is the ratio of another one."""
    return name.endswith(RATIO) and name.removesuffix(RATIO) in row
