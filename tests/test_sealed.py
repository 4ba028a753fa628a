"""A record that notices when it is changed."""

import pytest

from jaxssd.atomic import write_json
from jaxssd.sealed import read_sealed, sealed

RECORD = {"train": "ab", "val": {"a": 1}}


def test_what_was_sealed_is_read_back(tmp_path):
    write_json(tmp_path / "a.json", sealed(RECORD))
    assert read_sealed(tmp_path / "a.json") == RECORD


def test_a_record_of_an_older_version_has_no_seal(tmp_path):
    write_json(tmp_path / "a.json", RECORD)
    assert read_sealed(tmp_path / "a.json") == RECORD


@pytest.mark.parametrize("change", [{"train": "ac"}, {"val": {"a": 2}}, {"more": 1}, {"sha256": "0" * 16}])
def test_any_change_is_noticed(tmp_path, change):
    write_json(tmp_path / "a.json", sealed(RECORD) | change)
    with pytest.raises(ValueError, match=r"a\.json is damaged: its digest does not match its content"):
        read_sealed(tmp_path / "a.json")


@pytest.mark.parametrize("content", ["", "[1]", "{", "null"])
def test_what_is_no_record_is_damaged(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"a\.json is damaged"):
        read_sealed(tmp_path / "a.json")
