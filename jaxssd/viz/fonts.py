"""Fonts for letters that the default font lacks; a letter that no installed font has is reported once.

Names of classes and images may be in any script and have any sign. Matplotlib would read text between two dollar signs
as a formula, warn of each letter it cannot draw, and draw a box in its place.
"""

import logging
import sys
import unicodedata
from collections.abc import Iterable

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Source Han Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB",
    "Yu Gothic", "Hiragino Sans", "Malgun Gothic", "Apple SD Gothic Neo", "Nirmala UI", "Noto Sans", "Arial Unicode MS",
)  # fmt: skip
"""Families tried before all others, which also work but look odd."""

NO_GLYPH = "\u25a1"
EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO")

_families: dict[tuple[str, str], str | None] = {}  # (weight, letter): the family that draws it; None if there is none
_reported: set[str] = set()


def one_line(name: str, *, most: int | None = None) -> str:
    """Shorten a name to one line without tabs, and to `most` letters.

    Example:
        >>> one_line("traffic\\nlight"), one_line("traffic light", most=8)
        ('traffic light', 'traffic…')
    """
    name = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in name)
    return name if most is None or len(name) <= most else f"{name[: most - 1]}…"


def legible(figure: Figure) -> Figure:
    """Set fonts that have the letters of every text of a figure.

    Args:
        figure: complete figure; its texts are changed in place where necessary.

    Returns:
        `figure` itself.
    """
    draw_with_installed_fonts(text for text in figure.findobj(Text) if isinstance(text, Text))
    return figure


def drawable(text: str, *, weight: str = "normal") -> str:
    """Replace each letter that no font has by an empty box; for labels of an axis, which are kept elsewhere."""
    _find_families(text, weight)
    return "".join(NO_GLYPH if _families.get((weight, letter), "") is None else letter for letter in text)


def draw_with_installed_fonts(texts: Iterable[Text]) -> None:
    """Set fonts for letters that the texts' own font lacks; a letter that none has becomes an empty box.

    Args:
        texts: changed in place, before they are drawn or measured.
    """
    texts = [text for text in texts if not text.get_text().isascii() or not text.get_text().isprintable()]
    by_weight: dict[str, list[Text]] = {}
    for text in texts:
        by_weight.setdefault(str(text.get_fontweight()), []).append(text)
    for weight, alike in by_weight.items():
        _find_families("".join(text.get_text() for text in alike), weight)
        for text in alike:
            text.set_text(drawable(text.get_text(), weight=weight))
            others = {family for letter in text.get_text() if (family := _families.get((weight, letter)))}
            if others:
                logging.getLogger("matplotlib.font_manager").addFilter(_is_not_about_weight)
                text.set_fontfamily([*text.get_fontfamily(), *sorted(others)])


def _find_families(letters: str, weight: str) -> None:
    """Find a family for each letter, opening each font once. An empty name stands for the default font."""
    unknown = {letter for letter in set(letters) if (weight, letter) not in _families and letter != "\n"}
    if not unknown:
        return
    unknown -= _found(unknown, weight, findfont(FontProperties(weight=weight)), "")
    for family, file in _by_preference(weight) if unknown else ():
        unknown -= _found(unknown, weight, file, family)
        if not unknown:
            break
    _families.update({(weight, letter): None for letter in unknown})
    _report(unknown)


def _found(letters: set[str], weight: str, file: str, family: str) -> set[str]:
    """Letters that a font has, stored with its family."""
    font = get_font(file)
    found = {letter for letter in letters if font.get_char_index(ord(letter))}
    _families.update({(weight, letter): family for letter in found})
    return found


def _by_preference(weight: str) -> list[tuple[str, str]]:
    """Installed families in preferred order, each with its file of this weight; without the font of last resort."""
    files: dict[str, list[FontEntry]] = {}
    for font in fontManager.ttflist:
        if "Last Resort" not in font.name:
            files.setdefault(font.name, []).append(font)
    preferred = [name for name in PREFERRED if name in files]
    others = sorted(files.keys() - set(preferred), key=lambda name: ("Sans" not in name, name))

    def distance(font: FontEntry) -> float:
        manager = fontManager
        return (
            manager.score_style("normal", font.style)
            + manager.score_weight(weight, font.weight)
            + manager.score_stretch("normal", font.stretch)
        )

    return [(name, min(files[name], key=distance).fname) for name in (*preferred, *others)]


def _is_not_about_weight(record: logging.LogRecord) -> bool:
    """Filter of Matplotlib's warnings that a font has no bold."""
    return "Failed to find font weight" not in record.getMessage()


def _report(missing: set[str]) -> None:
    """Print missing letters, once for each script."""
    by_script: dict[str, list[str]] = {}
    for letter in sorted(letter for letter in missing if unicodedata.category(letter)[0] != "C"):
        word = unicodedata.name(letter, "OTHER").split()[0].split("-")[0]
        by_script.setdefault("CJK" if word in EAST_ASIAN else word, []).append(letter)
    for script, letters in by_script.items():
        if script not in _reported:
            _reported.add(script)
            some = " ".join(letters[:5])
            print(
                f"figures: no installed font has {some}{' ...' * (len(letters) > 5)}, which are drawn as {NO_GLYPH}. "
                f"{_advice(script)}, and remove Matplotlib's list of fonts in {matplotlib.get_cachedir()}",
                file=sys.stderr,
            )


def _advice(script: str) -> str:
    if script == "CJK":
        return "Install a font for Chinese, Japanese and Korean, such as Noto Sans CJK (Debian: fonts-noto-cjk)"
    return f"Install a font for {script.title()}, such as one of the Noto fonts (Debian: fonts-noto)"
