import pytest

from calcium_scoring.dicom.uids import derived_uid, is_valid_uid


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "2.25.0", "2.25." + "9" * 59])
def test_numbers_with_dots_are_uids(uid: str) -> None:
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.02.3",
        "1..2",
        "1.2.",
        "2.25." + "9" * 60,
        "123e4567-e89b-12d3-a456-426614174000",
        "../1.2.3",
        "1.2\n",
    ],
)
def test_everything_else_is_none(text: str) -> None:
    assert not is_valid_uid(text)


def test_the_same_parts_give_the_same_uid_and_others_another_one() -> None:
    assert derived_uid("series", "1") == derived_uid("series", "1")
    assert len({derived_uid("ab", "c"), derived_uid("a", "bc"), derived_uid("abc")}) == 3
    assert is_valid_uid(derived_uid("x"))
    assert derived_uid("x").startswith("2.25.")
