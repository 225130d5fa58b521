import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.teacher.ledger import Caps
from pipelines.teacher.prices import Prices, find_prices, picture_tokens
from pipelines.teacher.request import TeacherRequest
from skeletonllm.errors import ConfigError
from skeletonllm.reasoning.prompts import picture_messages

URL = "https://api.openai.com/v1"


def request(text="hello", model="gpt-4o", room=100, pictures=(), url=URL):
    return TeacherRequest(model, tuple(picture_messages(text, pictures, 1, False)), {"max_tokens": room}, url)


def png(width, height):
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"


def read(tmp_path, text):
    (tmp_path / "prices.toml").write_text(text)
    return Prices.read(find_prices(tmp_path))


def test_the_packages_prices_can_be_read_and_say_when_they_were_looked_up():
    known = Prices.read().known
    assert len(known) > 5
    for price in known.values():
        assert 0 < price.cached < price.input < price.output
        assert price.as_of.startswith("20")


def test_a_users_file_adds_and_wins(tmp_path):
    prices = read(tmp_path, "[gpt-4o]\ninput = 7\noutput = 8\n[mine]\ninput = 0.5\noutput = 1\nbatch = 0.25")
    assert prices.of("gpt-4o", URL).input == 7.0
    assert prices.of("mine", URL).cost(1_000_000, 1_000_000) == pytest.approx(1.5)
    assert prices.of("mine", URL).cost(1_000_000, 0, in_batch=True) == pytest.approx(0.125)
    assert prices.of("gpt-4o-mini", URL) == Prices.read().known["gpt-4o-mini"]


def test_a_server_on_this_machine_costs_nothing_unless_it_has_a_price(tmp_path):
    prices = read(tmp_path, "[mine]\ninput = 1\noutput = 1")
    for url in ("http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1"):
        assert prices.of("gpt-4o", url).cost(10**6, 10**6) == 0.0
        assert prices.of("mine", url).input == 1.0
    assert prices.of("unknown", URL) is None


def test_an_unknown_price_is_an_error_only_where_a_cap_on_cost_is_given():
    Prices.read().check("unknown", URL, Caps(max_tokens=5))
    with pytest.raises(ConfigError, match=r"price of 'unknown' is not known(.|\n)*\[\"unknown\"\](.|\n)*--max-tokens"):
        Prices.read().check("unknown", URL, Caps(max_cost=5.0))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[m\n", "is not TOML"),
        ("m = 3", "must be a table"),
        ("[m]\noutput = 1", r"\[m\]: input is missing"),
        ("[m]\ninput = -1\noutput = 1", "input is -1, must be a number, not negative"),
        ("[m]\ninput = 1\noutput = 1\nprice = 2", "'price' is unknown"),
        ("[gpt-4.1]\ninput = 1\noutput = 1", "names with dots in quotes"),
        ("[m]\ninput = 1\noutput = 1\npicture = [1]", "must be two numbers"),
    ],
)
def test_a_file_that_is_none_of_prices_is_told_with_its_place(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told):
        read(tmp_path, text)


def test_a_named_file_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="SKELETONLLM_PRICES"):
        find_prices(tmp_path, str(tmp_path / "none.toml"))


@given(st.text(max_size=300), st.integers(1, 5000))
def test_no_text_has_more_tokens_than_is_reserved(text, room):
    bound = Prices.read().bound(request(text, room=room))
    assert bound.tokens >= len(text.encode(errors="replace")) + room
    assert bound.cost >= Prices.read().of("gpt-4o", URL).cost(0, room)


@pytest.mark.parametrize(
    ("size", "tokens"), [((224, 224), 255), ((512, 512), 255), ((513, 512), 425), ((1024, 1024), 765)]
)
def test_pictures_count_by_their_tiles(size, tokens):
    url = request(pictures=[png(*size)]).messages[0]["content"][1]["image_url"]["url"]
    assert picture_tokens(url, (85, 170)) == tokens
    assert Prices.read().bound(request(pictures=[png(*size)])).tokens >= tokens


def test_an_answer_without_a_limit_cannot_be_reserved():
    with pytest.raises(ConfigError, match="max_tokens is None"):
        Prices.read().bound(TeacherRequest("m", (), {}))
