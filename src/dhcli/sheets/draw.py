"""A contact sheet as one picture: five mouths, the originals above them, and the opening over the loudness."""

from __future__ import annotations

import cv2
import numpy as np

from dhcli.sheets.crop import Tile
from dhcli.sheets.mouths import Seen
from dhcli.types import F64, U8

TILE = Tile(256, 208)
PAPER, INK, SOFT, LINE, BLUE, LOUD = (
    (255, 255, 255),
    (30, 28, 27),
    (110, 104, 98),
    (225, 226, 226),
    (197, 87, 36),
    (232, 211, 201),
)
"""BGR."""
EDGE, GAP, TEXT, CHART = 20, 8, 24, 150
"""px: around the sheet, between tiles, a line of text, the chart."""
FONT, SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
LEAST_TOP = 0.35
"""Opening at the upper edge of the chart, widths of the mouth."""
GAP_S = 0.25
"""The curve breaks where no face was seen for longer."""
HIGHEST = 0.62
"""Of the loudness, in parts of the chart's height."""


def draw_sheet(seen: Seen) -> U8:
    """The sheet as BGR; of the whole frame where no face was found."""
    if not seen.mouths:
        return _framed(seen.small, "no face was found")
    count, with_originals = len(seen.mouths), any(one.original is not None for one in seen.mouths)
    rows = 2 if with_originals else 1
    width = 2 * EDGE + count * TILE.width + (count - 1) * GAP
    below = EDGE + rows * (TEXT + TILE.height) + TEXT + GAP
    sheet: U8 = np.full((below + CHART + TEXT + EDGE, width, 3), 255, np.uint8)
    for column, mouth in enumerate(seen.mouths):
        x, y = EDGE + column * (TILE.width + GAP), EDGE
        if with_originals:
            y = _row(sheet, mouth.original, x, y, "original" if not column else "")
        y = _row(sheet, mouth.rendered, x, y, "rendered" if not column else "")
        name = {0: "widest, ", count - 1: "most closed, "}.get(column, "")
        _write(sheet, f"{name}{mouth.opening:.2f} at {mouth.time_s:.2f} s", x, y + TEXT - 8, INK)
    _chart(sheet, seen, EDGE, below)
    return sheet


def _row(sheet: U8, tile: U8 | None, x: int, y: int, name: str) -> int:
    """A tile below its name. Gives where the next row begins."""
    _write(sheet, name, x, y + TEXT - 8, SOFT)
    y += TEXT
    if tile is not None:
        sheet[y : y + TILE.height, x : x + TILE.width] = tile
    return y + TILE.height


def _chart(sheet: U8, seen: Seen, left: int, top: int) -> None:
    right, bottom = sheet.shape[1] - EDGE, top + CHART
    high = max(LEAST_TOP, float(seen.openings.max()))
    if len(seen.loudness):
        x = np.linspace(left, right, len(seen.loudness))
        y = bottom - seen.loudness.astype(np.float64) * HIGHEST * CHART
        outline = np.vstack([[left, bottom], np.column_stack([x, y]), [right, bottom]])
        cv2.fillPoly(sheet, [np.rint(outline).astype(np.int32)], LOUD, cv2.LINE_AA)
    cv2.line(sheet, (left, bottom), (right, bottom), LINE, 1, cv2.LINE_AA)
    length = max(seen.end_s - seen.begin_s, 0.01)
    points: F64 = np.column_stack(
        [left + (seen.times_s - seen.begin_s) / length * (right - left), bottom - seen.openings / high * CHART]
    )
    breaks = np.flatnonzero(np.diff(seen.times_s) > GAP_S) + 1
    for line in np.split(np.rint(points).astype(np.int32), breaks):
        cv2.polylines(sheet, [line], isClosed=False, color=BLUE, thickness=2, lineType=cv2.LINE_AA)
    when = f"{seen.begin_s:.1f} to {seen.end_s:.1f} s"
    said = f"opening of the mouth over the loudness, {when}; {high:.2f} of its width at the top"
    _write(sheet, said, left, bottom + TEXT - 6, SOFT)


def _framed(picture: U8, said: str) -> U8:
    sheet = cv2.copyMakeBorder(picture, EDGE, EDGE + TEXT, EDGE, EDGE, cv2.BORDER_CONSTANT, value=PAPER)
    _write(sheet, said, EDGE, sheet.shape[0] - EDGE, SOFT)
    return np.asarray(sheet, np.uint8)


def _write(sheet: cv2.typing.MatLike, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(sheet, text, (x, y), FONT, SIZE, colour, 1, cv2.LINE_AA)
