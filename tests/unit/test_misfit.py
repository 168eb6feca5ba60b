"""Wrong values are told in words of dh, whatever pydantic calls them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dhcli.jobs.misfit import misfits


class Part(BaseModel):
    key: str = ""


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    whole: Annotated[int, Field(ge=1, le=9)] = 1
    number: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    switch: bool = False
    word: Literal["a", "b"] = "a"
    text: Annotated[str, Field(min_length=2, max_length=3, pattern="^x")] = "xx"
    some: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    pair: tuple[int, int] = (1, 2)
    table: dict[str, int] = {}
    part: Part = Part()
    needed: int

    @model_validator(mode="after")
    def _fits(self) -> Sample:
        if self.needed > 5:
            raise ValueError("needed is beyond all bounds")
        return self


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "needed: missing"),
        ({"colour": 1}, "colour: unknown key"),
        ({"needed": 6}, "needed is beyond all bounds"),
        ({"needed": "x"}, "needed: found 'x', expected a whole number"),
        ({"needed": 1.5}, "needed: found 1.5, expected a whole number"),
        ({"needed": None}, "needed: found no value, expected a whole number"),
        ({"whole": 0}, "whole: found 0, expected at least 1"),
        ({"whole": 10}, "whole: found 10, expected at most 9"),
        ({"number": 0}, "number: found 0, expected more than 0.0"),
        ({"number": "inf"}, "number: found 'inf', expected a finite number"),
        ({"number": []}, "number: found a list, expected a number"),
        ({"switch": "maybe"}, "switch: found 'maybe', expected true or false"),
        ({"word": "c"}, "word: found 'c', expected 'a' or 'b'"),
        ({"text": {}}, "text: found a mapping, expected a text"),
        ({"text": "x"}, "text: found 'x', expected at least 2 characters"),
        ({"text": "y" * 70}, f"text: found '{'y' * 59}…, expected at most 3 characters"),
        ({"text": "yy"}, "text: found 'yy', expected a text of the form ^x"),
        ({"some": []}, "some: found a list, expected at least 1 values"),
        ({"some": 1}, "some: found 1, expected a list"),
        ({"pair": "ab"}, "pair: found 'ab', expected a list"),
        ({"table": 1}, "table: found 1, expected a mapping"),
        ({"part": 1}, "part: found 1, expected a mapping"),
        ({"part": {"key": 1}}, "part.key: found 1, expected a text"),
    ],
)
def test_words(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"needed": 1, **given} if given else {})
    assert list(misfits(caught.value)) == [told]
