from __future__ import annotations

import pytest

from bevformer_lib.errors import SourceError
from bevformer_lib.source.address import HubAddress, parse_hub, parse_local


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://me/model/a/b.pth", HubAddress("me/model", "main", "a/b.pth")),
        ("hf://me/model@v1.0/a/", HubAddress("me/model", "v1.0", "a")),
        ("hf://me/model", HubAddress("me/model", "main", "")),
        ("hf://me/model@refs%2Fpr%2F3/a", HubAddress("me/model", "refs/pr/3", "a")),
        ("hf:///inference_data", HubAddress("AXERA-TECH/bevformer", "main", "inference_data")),
        ("hf://@v2/inference_data", HubAddress("AXERA-TECH/bevformer", "v2", "inference_data")),
        ("hf://me/model/a@b.pth", HubAddress("me/model", "main", "a@b.pth")),
    ],
)
def test_what_an_address_names(text: str, expected: HubAddress) -> None:
    assert parse_hub(text) == expected
    assert parse_hub(expected.uri) == expected


@pytest.mark.parametrize(
    "text", ["hf://me", "hf://me/", "hf://me/model@/a", "hf://@/a", "hf:///../x", "hf://me/m/../x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(SourceError, match="write hf://owner/repo"):
        parse_hub(text)


def test_a_token_in_an_address_is_not_repeated() -> None:
    with pytest.raises(SourceError) as raised:
        parse_hub("hf://user:hf_secret@me/model/x")
    assert "hf_secret" not in str(raised.value)


def test_local_addresses() -> None:
    assert str(parse_local("file:///data/mein%20Modell.pth")) == "/data/mein Modell.pth"
    assert parse_local("a.pth").is_absolute()
    with pytest.raises(SourceError, match=r"https://\.\.\.: not a place for inputs"):
        parse_local("https://user:secret@host/x.pth")
    with pytest.raises(SourceError, match="names another machine"):
        parse_local("file://host/x.pth")


@pytest.mark.parametrize("address", ["hf://me/model/a\udcffb", "hf://me/model/a\0b", "hf://me/model/a\nb"])
def test_characters_that_no_address_has(address: str) -> None:
    with pytest.raises(SourceError, match="holds characters that no address has"):
        parse_hub(address)
