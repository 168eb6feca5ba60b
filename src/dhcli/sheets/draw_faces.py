"""The sheet of `dh faces`: the frame in which a face is chosen, with numbers, and a line for each person."""

from __future__ import annotations

import cv2
import numpy as np

from dhcli.sheets.draw import EDGE, FONT, INK, LINE, SOFT
from dhcli.sheets.faces import FRAME_WIDTH, TILE_SIDE, Cast, Person
from dhcli.types import U8

GAP, RADIUS = 16, 17
COLOURS = ((197, 87, 36), (41, 125, 46), (33, 60, 190), (150, 60, 130), (20, 120, 190), (120, 110, 20))
"""BGR, one after the other."""
PICTURE_S = 0.1
"""A video is longer."""
BAR = 12
"""px, height of the line of time."""


def draw_faces(cast: Cast) -> U8:
    """The sheet as BGR."""
    frame = _numbered(cast)
    height = 2 * EDGE + frame.shape[0] + len(cast.persons) * (GAP + TILE_SIDE)
    sheet: U8 = np.full((height, FRAME_WIDTH + 2 * EDGE, 3), 255, np.uint8)
    sheet[EDGE : EDGE + frame.shape[0], EDGE : EDGE + FRAME_WIDTH] = frame
    for number, person in enumerate(cast.persons):
        top = EDGE + frame.shape[0] + GAP + number * (GAP + TILE_SIDE)
        sheet[top : top + TILE_SIDE, EDGE : EDGE + TILE_SIDE] = person.picture
        _person(sheet, cast, person, number, top)
    return sheet


def value_of(person: Person) -> str:
    """What the option `face` is to say for this person."""
    return person.values[0] if person.values else "like:PHOTO"


def seen_text(cast: Cast, person: Person) -> str:
    """Where the person is seen: `0:00-0:08, 0:12-0:20 (61 %)`; "" in a picture."""
    if cast.duration_s < PICTURE_S:
        return ""
    shown = [f"{_clock(begin)}-{_clock(end)}" for begin, end in person.seen[:4]]
    more = ", ..." if len(person.seen) > 4 else ""
    return f"{', '.join(shown)}{more} ({person.share * 100:.0f} %)"


def _numbered(cast: Cast) -> U8:
    frame = cast.frame.copy()
    for number, person in enumerate(cast.persons):
        if person.box is None:
            continue
        box = person.box
        left, top = round(box.x * cast.scale), round(box.y * cast.scale)
        right, bottom = round((box.x + box.width) * cast.scale), round((box.y + box.height) * cast.scale)
        colour = COLOURS[number % len(COLOURS)]
        cv2.rectangle(frame, (left, top), (right, bottom), (255, 255, 255), 4, cv2.LINE_AA)
        cv2.rectangle(frame, (left, top), (right, bottom), colour, 2, cv2.LINE_AA)
        _badge(frame, number, max(RADIUS, left), max(RADIUS, top))
    return frame


def _badge(sheet: U8, number: int, x: int, y: int) -> None:
    cv2.circle(sheet, (x, y), RADIUS, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(sheet, (x, y), RADIUS - 2, COLOURS[number % len(COLOURS)], -1, cv2.LINE_AA)
    text = str(number + 1)
    (width, height), _ = cv2.getTextSize(text, FONT, 0.6, 2)
    cv2.putText(sheet, text, (x - width // 2, y + height // 2), FONT, 0.6, (255, 255, 255), 2, cv2.LINE_AA)


def _person(sheet: U8, cast: Cast, person: Person, number: int, top: int) -> None:
    left, right = EDGE + TILE_SIDE + 2 * GAP, EDGE + FRAME_WIDTH
    _badge(sheet, number, EDGE + RADIUS + 4, top + RADIUS + 4)
    cv2.putText(sheet, f"face: {value_of(person)}", (left, top + 28), FONT, 0.8, INK, 2, cv2.LINE_AA)
    others = ", ".join(person.values[1:]) if person.values else "not in the frame in which a face is chosen"
    small = "" if person.usable else "; too small to work on"
    _write(sheet, f"also {others}" if person.values else others, left, top + 58)
    _write(sheet, f"{person.width_px:.0f} px wide{small}", left, top + 82)
    if not (seen := seen_text(cast, person)):
        return
    _write(sheet, f"seen {seen}", left, top + 106)
    y = top + TILE_SIDE - BAR - 6
    cv2.rectangle(sheet, (left, y), (right, y + BAR), LINE, -1)
    for begin, end in person.seen:
        length = max(cast.duration_s, 0.01)
        x0 = left + round(begin / length * (right - left))
        x1 = left + round(min(1.0, end / length) * (right - left))
        cv2.rectangle(sheet, (x0, y), (max(x0 + 1, x1), y + BAR), COLOURS[number % len(COLOURS)], -1)


def _write(sheet: U8, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), FONT, 0.5, SOFT, 1, cv2.LINE_AA)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
