"""The error table of the service, written down a second time: whoever changes the one must change the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import ADVICE, BY_CODE, ROWS, UNRESOLVED, Error, ErrorClass, class_of, error

# class, HTTP status, codes
ROWS_OF_THE_TABLE = [
    ("service", 500, "800003 800005 900192"),
    ("in_progress", 409, "800064 800060 900112 900113"),
    ("already_ordered", 400, "800065"),
    ("authentication", 401, "800001 900420 900421"),
    ("configuration", 403, "900308 900309 900329 900150 2032"),
    ("cart", 404, "400013 400018 400019 2072 800015"),
    ("cart", 400, "800002 800004 800009 800010 800011 800012 800013 800017 800021 800030 800070 800086"),
    ("cart", 400, "900126 900128 900129 900142 900169 900203 900206 900242 900275"),
    ("cart", 400, "900312 900313 900314 900315 900316 900317 900318"),
    ("cart", 400, "27006 27007 2071 800016 900154 900419"),
    ("cart", 403, "800020 800028 2085 2091 2006 800066 800067 800068 800088 800089 900323"),
    ("cart", 200, "400072"),
    ("cart", 500, "800031 800083 800084 800087"),
    ("partner", 403, "13605 2030 900123 900124 800039 900149 800023 900121 800069 800073 800074 800075 900416 20002"),
    ("partner", 400, "800022 800024 800025 800026 800062"),
    ("partner", 409, "900114"),
    ("not_found", 404, "800008 1000 60003"),
    ("not_found", 400, "900118"),
    ("environment", 400, "800018 900116 900127"),
    ("environment", 403, "900322"),
    ("rejected", 417, "800036"),
    ("rejected", 400, "4018"),
]
TABLE = [(status, code, error_class) for error_class, status, codes in ROWS_OF_THE_TABLE for code in codes.split()]
KNOWN = {code for _, code, _ in TABLE}
OF_AN_ORDER = ["800060", "800064", "800065", "900112", "900113"]
"""Codes that mean an order, made or in progress, whatever the status."""

BY_STATUS = [
    (500, None, "service"),
    (501, None, "service"),
    (408, None, "service"),
    (502, None, "service"),
    (503, None, "service"),
    (504, None, "service"),
    (429, None, "throttled"),
    (409, None, "in_progress"),
    (401, None, "authentication"),
    (403, None, "configuration"),
    (404, None, "not_found"),
    (400, None, "rejected"),
    (405, None, "rejected"),
    (410, None, "rejected"),
    (412, None, "rejected"),
    (417, None, "rejected"),
    (422, None, "rejected"),
    (499, None, "rejected"),
    (300, None, "configuration"),
    (301, None, "configuration"),
    (302, None, "configuration"),
    (307, None, "configuration"),
    (308, None, "configuration"),
    (399, None, "configuration"),
]
UNKNOWN_CODES = [
    (401, "service's own", "authentication"),
    (401, "999999", "authentication"),
    (403, "999999", "configuration"),
    (409, "999999", "in_progress"),
    (429, "999999", "throttled"),
    (408, "999999", "service"),
    (400, "999999", "rejected"),
    (404, "999999", "rejected"),
    (417, "999999", "rejected"),
    (422, "InvalidRequest", "rejected"),
    (500, "999999", "service"),
    (501, "999999", "service"),
    (502, "999999", "service"),
    (503, "999999", "service"),
    (599, "999999", "service"),
    (302, "999999", "configuration"),
]
KNOWN_CODES_WITH_ANOTHER_STATUS = [
    (400, "800089", "rejected"),
    (404, "800065", "already_ordered"),  # what implies an order does so whatever the status
    (403, "800065", "already_ordered"),
    (409, "800065", "already_ordered"),
    (500, "800065", "already_ordered"),
    (302, "800065", "already_ordered"),
    (400, "800064", "in_progress"),
    (404, "900112", "in_progress"),
    (429, "800060", "in_progress"),
    (500, "800089", "service"),
    (503, "800031", "service"),
    (400, "800031", "rejected"),
    (401, "13605", "authentication"),
    (429, "800089", "throttled"),
]


@pytest.mark.parametrize(("status", "code", "error_class"), TABLE)
def test_a_row_of_the_table_has_its_class(status: int, code: str, error_class: str) -> None:
    assert error_class == class_of(status, code)


@pytest.mark.parametrize(("status", "code", "error_class"), BY_STATUS)
def test_a_status_without_a_code_has_its_class(status: int, code: None, error_class: str) -> None:
    assert error_class == class_of(status, code)


@pytest.mark.parametrize(("status", "code", "error_class"), UNKNOWN_CODES)
def test_an_unknown_code_takes_the_class_of_its_status(status: int, code: str, error_class: str) -> None:
    assert error_class == class_of(status, code)


@pytest.mark.parametrize(("status", "code", "error_class"), KNOWN_CODES_WITH_ANOTHER_STATUS)
def test_status_and_code_are_read_together(status: int, code: str, error_class: str) -> None:
    assert error_class == class_of(status, code)


@pytest.mark.parametrize(("status", "code", "error_class"), TABLE)
def test_a_code_alone_selects_its_row(status: int, code: str, error_class: str) -> None:
    del status
    assert error_class == BY_CODE[code]


def test_the_program_knows_this_table_and_no_other_row() -> None:
    assert sorted(TABLE) == sorted((row.status, code, row.error_class.value) for row in ROWS for code in row.codes)
    assert len(TABLE) == len(set(TABLE)) == len(KNOWN), "no code has two meanings, so each can stand alone"


@given(st.integers(), st.none() | st.text() | st.sampled_from(sorted(KNOWN)))
def test_every_status_and_code_has_a_class(status: int, code: str | None) -> None:
    assert isinstance(class_of(status, code), ErrorClass)


CLASSES = {
    "service": True,
    "throttled": True,
    "in_progress": True,
    "authentication": True,
    "configuration": True,
    "unanswered": True,
    "expired": True,
    "internal": False,
    "cart": False,
    "partner": False,
    "not_found": False,
    "environment": False,
    "rejected": False,
    "already_ordered": False,
    "invalid_message": False,
}


def test_the_classes_are_those_of_the_contract() -> None:
    assert sorted(CLASSES) == sorted(ErrorClass)


@pytest.mark.parametrize(("error_class", "retryable"), CLASSES.items())
def test_retryable_says_whether_the_unchanged_cart_may_succeed(error_class: str, retryable: bool) -> None:
    assert retryable is error(ErrorClass(error_class), "").retryable


@pytest.mark.parametrize("advice", [*ADVICE.values(), UNRESOLVED], ids=[*ADVICE, "unresolved"])
def test_advice_is_one_sentence_or_two(advice: str) -> None:
    assert advice[0].isupper()
    assert advice.endswith(".")
    assert advice.count(". ") <= 1
    assert advice.isprintable()


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_every_class_has_its_own_advice(error_class: ErrorClass) -> None:
    others = [advice for other, advice in ADVICE.items() if other is not error_class]
    assert ADVICE[error_class] == error(error_class, "").advice
    assert ADVICE[error_class] not in others


def test_an_error_can_carry_better_advice() -> None:
    found = error(ErrorClass.CART, "no", advice="Do this.", code="1", source="PartnerFD", data=("a",))
    assert Error(ErrorClass.CART, "no", "Do this.", "1", "PartnerFD", ("a",)) == found
