"""Faults over real HTTP, and the arithmetic of when they strike."""

import io
import re
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srsat_dask.cli import main
from srsat_dask.errors import InputError
from srsat_dask.sandbox import Sandbox
from srsat_dask.sandbox.door import paced
from srsat_dask.sandbox.faultfile import read_faults
from srsat_dask.sandbox.faults import Drip, Truncate
from srsat_dask.sandbox.referee import Referee
from srsat_dask.sandbox.scenes import Bounds, Rgba

TOKEN = "-".join(["some", "token"])
RULES = st.sampled_from(
    [{"probability": 0.3}, {"nth": [1, 4]}, {"every": 3}, {}, {"match": "/1"}, {"match": "/9"}]
)


@dataclass(frozen=True)
class Noise:
    """A fake scene of one noisy tile an address, about 200 KB as PNG."""

    entity_id: str = "noise"
    bounds: Bounds = (139.0, 35.0, 140.0, 36.0)
    acquired: datetime = datetime(2018, 12, 24, tzinfo=UTC)
    cloud_cover: float = 0.0
    min_zoom: int = 9
    max_zoom: int = 9

    def tile(self, z: int, x: int, y: int) -> Rgba | None:
        """Noise of its own, none in column 100."""
        if x == 100:
            return None
        tile = np.random.default_rng([z, x, y]).integers(0, 256, (256, 256, 4), np.uint8)
        tile[..., 3] = 255
        return tile


def sandbox(*rules: Mapping[str, Any], token: str | None = None, **top: Any) -> Sandbox:
    return Sandbox([Noise()], token=token, faults={"rules": list(rules), **top})


def get(running: Sandbox, x: int = 1, **options: Any) -> requests.Response:
    """Ask for a tile, without retries and without following redirects."""
    url = f"{running.url}/ASNARO-1/noise/9/{x}/2.png"
    return requests.get(url, timeout=9, allow_redirects=False, **options)


def pixels(answer: requests.Response) -> Rgba:
    with Image.open(io.BytesIO(answer.content)) as image:
        return np.asarray(image)


def test_a_status_comes_with_retry_after() -> None:
    """The n-th requests fail with the status and the seconds to wait, the others do not."""
    with sandbox({"status": 503, "retry_after": 7, "nth": [1, 3]}) as running:
        answers = [get(running) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 200, 503, 200]
        assert answers[0].headers["Retry-After"] == "7"
        assert answers[0].json()["status"] == 503
        assert "Retry-After" not in answers[1].headers
        assert running.log.paths["/ASNARO-1/noise/9/1/2.png"].statuses == {200: 2, 503: 2}
        assert running.log.faults == {"rule 1: status 503": 2}


def test_retry_after_may_be_a_date() -> None:
    """The date is an HTTP date, no sooner than the seconds say and hardly later."""
    with sandbox({"status": 429, "retry_after": 60, "retry_after_date": True}) as running:
        asked = datetime.now(UTC)
        date = parsedate_to_datetime(get(running).headers["Retry-After"])
        assert 60 <= (date - asked).total_seconds() < 65


def test_a_reset_is_a_reset() -> None:
    """The kernel says the peer reset the connection; the log counts it as no answer."""
    with sandbox({"reset": True, "every": 2}) as running:
        assert get(running).status_code == 200
        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            get(running)
        assert get(running).status_code == 200
        assert running.log.paths["/ASNARO-1/noise/9/1/2.png"].statuses == {0: 1, 200: 2}


def test_a_stall_is_late_but_right() -> None:
    """The answer is the tile, after the time said, while other paths are served."""
    with sandbox({"stall": 0.9, "match": "/9/1/"}) as running, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        late = pool.submit(get, running)
        assert get(running, x=2).status_code == 200
        assert not late.done()
        np.testing.assert_array_equal(pixels(late.result()), Noise().tile(9, 1, 2))
        assert time.monotonic() - began >= 0.9


def test_a_drip_is_slow_but_right() -> None:
    """The body arrives whole at about the rate."""
    with sandbox({"drip": 400_000}) as running:
        began = time.monotonic()
        answer = get(running)
        took = time.monotonic() - began
        assert took >= len(answer.content) / 400_000 > 0.3
        np.testing.assert_array_equal(pixels(answer), Noise().tile(9, 1, 2))
        assert running.log.faults == {"rule 1: drip 400000": 1}


@pytest.mark.parametrize("length", [0, 1000])
def test_a_truncated_body_announces_the_whole(length: int) -> None:
    """Content-Length is the tile's, the bytes are its first ones, then the connection ends."""
    with sandbox({"truncate": length, "nth": [2]}) as running:
        whole = get(running).content
        with get(running, stream=True) as answer:
            assert int(answer.headers["Content-Length"]) == len(whole)
            assert answer.raw.read(length) == whole[:length]
            with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
                answer.content  # noqa: B018
        assert running.log.faults == {f"rule 1: truncate {length}": 1}
        assert running.log.total == 2


def test_cutting_beyond_the_end_is_no_fault() -> None:
    """A body that fits is sent as it is and not counted as cut."""
    with sandbox({"truncate": 10_000_000}) as running:
        np.testing.assert_array_equal(pixels(get(running)), Noise().tile(9, 1, 2))
        assert running.log.faults == {"rule 1: truncate 10000000": 0}


@pytest.mark.parametrize(("kind", "content_type", "start"), [
    ("html", "text/html", b"<!DOCTYPE html>"), ("json", "application/json", b"{"),
    ("empty", "image/png", b""),
])  # fmt: skip
def test_a_wrong_body_has_status_200(kind: str, content_type: str, start: bytes) -> None:
    """A broken gateway's page comes in place of the tile."""
    with sandbox({"body": kind}) as running:
        answer = get(running)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(content_type)
        assert answer.content.startswith(start)
        assert len(answer.content) < 1000
        assert bool(answer.content) == bool(start)


def test_the_bomb_is_small_and_announces_an_enormous_picture() -> None:
    """Pillow reads the header and refuses the size."""
    with sandbox({"body": "bomb"}) as running:
        answer = get(running)
        assert answer.headers["Content-Type"] == "image/png"
        assert len(answer.content) < 10_000
        with pytest.raises(Image.DecompressionBombError, match="3600000000 pixels"):
            Image.open(io.BytesIO(answer.content))


def test_a_redirect_points_elsewhere() -> None:
    """Status 302 with the address as given."""
    with sandbox({"redirect": "http://127.0.0.1:9/trap"}) as running:
        answer = get(running)
        assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/trap")


def test_latencies_add_up_and_come_before_another_fault() -> None:
    """Two latency rules and an error all happen to the same request, and are all counted."""
    rules: list[dict[str, Any]] = [{"latency": 0.2}, {"latency": 0.1, "jitter": 0.1}]
    with sandbox(*rules, {"status": 500}, {"status": 418}) as running:
        began = time.monotonic()
        assert get(running).status_code == 500
        assert time.monotonic() - began >= 0.3
        assert list(running.log.faults.values()) == [1, 1, 1, 0]


def test_a_crowd_is_turned_away() -> None:
    """Of five at once three are too many; afterwards there is room again."""
    with sandbox({"latency": 0.8}, concurrency=2) as running:
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda x: get(running, x), range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["Retry-After"] == "1"
        assert get(running).status_code == 200
        assert running.log.faults == {"all: concurrency 2": 3, "rule 1: latency 0.8": 6}
        assert running.log.peak_concurrency == 5


def test_the_token_expires() -> None:
    """After so many requests with it the token is refused; those without never count."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with sandbox({"expire_token_after": 2, "match": "/9/1/"}, token=TOKEN) as running:
        assert get(running).status_code == 401
        statuses = [get(running, headers=bearer).status_code for _ in range(4)]
        assert statuses == [200, 200, 401, 401]
        assert get(running, x=2, headers=bearer).status_code == 200
        assert running.log.faults == {"rule 1: expire_token_after 2": 2}


def test_the_log_over_http_tells_the_faults_and_forgets_them() -> None:
    """The JSON names every rule, those that never fired too; DELETE sets them to nought."""
    with sandbox({"status": 503, "every": 2}, {"reset": True, "match": "^/never"}) as running:
        for x in (1, 2):
            get(running, x)
        shown = requests.get(running.url + "/_sandbox/log", timeout=9).json()
        assert shown == running.log.as_json()
        assert shown["faults"] == {"rule 1: status 503": 1, "rule 2: reset true": 0}
        requests.delete(running.url + "/_sandbox/log", timeout=9)
        assert set(running.log.faults.values()) == {0}


def test_errors_are_never_cut() -> None:
    """A 404 under a truncation is whole and not counted as a fault."""
    with sandbox({"truncate": 3}) as running:
        assert get(running, x=100).json()["status"] == 404
        assert running.log.faults == {"rule 1: truncate 3": 0}


def outcomes(referee: Referee, paths: list[str]) -> dict[tuple[str, int], str | None]:
    """Say what befalls the k-th request of each path."""
    befell: dict[tuple[str, int], str | None] = {}
    asked: Counter[str] = Counter()
    for path in paths:
        ruling = referee.admit(path, authorised=False)
        referee.release(ruling)
        asked[path] += 1
        befell[path, asked[path]] = ruling.fault.name if ruling.fault else None
    return befell


@given(st.lists(st.sampled_from([f"/{k}" for k in range(12)]), max_size=60), st.randoms())
def test_chance_does_not_depend_on_the_order(paths: list[str], random: Any) -> None:
    """Whatever the order of the paths, the k-th request of each meets the same fate."""
    faults = read_faults({"seed": 5, "rules": [
        {"status": 503, "probability": 0.3}, {"reset": True, "probability": 0.3}]})  # fmt: skip
    shuffled = random.sample(paths, len(paths))
    assert outcomes(Referee(faults), paths) == outcomes(Referee(faults), shuffled)


def test_chance_strikes_as_often_as_asked_and_a_retry_may_pass() -> None:
    """Shares hold over many paths and over many retries of one; another seed, another draw."""
    many, again = [f"/{k}" for k in range(4000)], ["/one"] * 4000
    fates = []
    for seed in (0, 1):
        rules = [{"status": 503, "probability": 0.1}]
        for paths in (many, again):
            struck = list(
                outcomes(Referee(read_faults({"seed": seed, "rules": rules})), paths).values()
            )
            assert struck.count("rule 1: status 503") / 4000 == pytest.approx(0.1, abs=0.025)
            fates.append(struck)
    assert fates[0] != fates[2]
    assert fates[1] != fates[3]


@given(st.lists(RULES, max_size=4), st.lists(st.sampled_from(["/1", "/2", "/9"]), max_size=30))
def test_a_rule_does_not_change_what_the_others_do(
    triggers: list[dict[str, Any]], paths: list[str]
) -> None:
    """A latency strikes the requests it would strike alone, whatever rules come before it."""
    rules = [{"status": 500 + k, **trigger} for k, trigger in enumerate(triggers)]
    slow = {"latency": 1, "every": 2, "match": "/[12]"}

    def slowed(plan: list[dict[str, Any]]) -> list[float]:
        referee = Referee(read_faults({"rules": plan}))
        return [referee.admit(path, authorised=False).delay for path in paths]

    assert slowed([slow]) == slowed([*rules, slow])


def test_jitter_is_drawn_for_each_request_and_again_the_same() -> None:
    """Delays spread over the jitter, and a second run draws them again."""
    plan = read_faults({"rules": [{"latency": 1, "jitter": 0.5}]})
    first, second = (
        [referee.admit("/a", authorised=False).delay for _ in range(500)]
        for referee in (Referee(plan), Referee(plan))
    )
    assert first == second
    assert 1 <= min(first) < 1.02
    assert 1.48 < max(first) <= 1.5


@given(
    st.lists(st.binary(max_size=50), max_size=6),
    st.one_of(
        st.none(),
        st.floats(0.5, 500).map(Drip),
        st.integers(0, 200).map(Truncate),
    ),
)
def test_pieces_make_up_the_body(chunks: list[bytes], effect: Drip | Truncate | None) -> None:
    """Together they are the body, or its first bytes; dripped, they take as long as they should."""
    whole = b"".join(chunks)
    pieces = list(paced(chunks, effect))
    sent, waited = b"".join(piece for _, piece in pieces), sum(pause for pause, _ in pieces)
    assert sent == (whole[: effect.length] if isinstance(effect, Truncate) else whole)
    expected = len(whole) / effect.bytes_per_second if isinstance(effect, Drip) else 0
    assert waited == pytest.approx(expected)


def test_a_file_says_what_a_mapping_says(tmp_path: Path) -> None:
    """YAML and a mapping make the same plan."""
    path = tmp_path / "faults.yaml"
    path.write_text(
        "seed: 3\nconcurrency: 8\nrules:\n"
        '  - match: "^/ASNARO-1/"\n    probability: 0.1\n    status: 503\n    retry_after: 2\n'
        "  - nth: [3, 10]\n    latency: 1.5\n    jitter: 0.5\n"
    )
    assert read_faults(path) == read_faults(
        {
            "seed": 3,
            "concurrency": 8,
            "rules": [
                {"match": "^/ASNARO-1/", "probability": 0.1, "status": 503, "retry_after": 2},
                {"nth": [3, 10], "latency": 1.5, "jitter": 0.5},
            ],
        }
    )


def test_an_empty_file_is_no_faults(tmp_path: Path) -> None:
    """Nothing written, nothing wrong."""
    path = tmp_path / "faults.yaml"
    path.write_text("# nothing yet\n")
    assert read_faults(path) == read_faults(None)


@pytest.mark.parametrize(("rule", "message"), [
    ({"staus": 503}, "unknown key 'staus'.*choose from.*status"),
    ({"status": 503, "reset": True}, "status and reset are two effects: keep one"),
    ({"status": 503, "nth": [1], "every": 2}, "nth and every are two triggers: keep one"),
    ({"concurrency": 3, "every": 2}, "every and concurrency are two triggers"),
    ({"concurrency": 3, "status": 503}, "status and concurrency are two effects"),
    ({"every": 2}, "has no effect: give one of status"),
    ({"status": 503, "match": "("}, r"match '\(' is unusable: give a regular expression"),
    ({"status": 503, "match": 7}, "match 7 is unusable"),
    ({"status": 503, "probability": 1.5}, "probability 1.5 is unusable: give a number, 0 to 1"),
    ({"status": 503, "probability": "often"}, "probability 'often'"),
    ({"status": 503, "probability": float("nan")}, "probability nan"),
    ({"status": 503, "nth": 3}, r"nth 3 is unusable: give a list"),
    ({"status": 503, "nth": [0]}, r"nth \[0\]"),
    ({"status": 503, "nth": []}, r"nth \[\]"),
    ({"status": 503, "every": 0}, "every 0 is unusable: give a whole number, 1 or more"),
    ({"status": 200}, "status 200 is unusable: give a whole number, 400 to 599"),
    ({"status": True}, "status True"),
    ({"status": 503, "retry_after": -1}, "retry_after -1"),
    ({"reset": True, "retry_after": 1}, "retry_after goes with status"),
    ({"status": 503, "retry_after_date": True}, "retry_after_date goes with retry_after"),
    ({"reset": False}, "reset False is unusable: give true"),
    ({"stall": -1}, "stall -1 is unusable: give a number, 0 or more"),
    ({"stall": float("inf")}, "stall inf"),
    ({"drip": 0}, "drip 0 is unusable: give a number, more than 0"),
    ({"truncate": 1.5}, "truncate 1.5"),
    ({"body": "xml"}, "body 'xml' is unusable: give one of html, json, empty, bomb"),
    ({"redirect": "there\r\nX: 1"}, "redirect"),
    ({"latency": "1s"}, "latency '1s'"),
    ({"stall": 1, "jitter": 1}, "jitter goes with latency"),
    ({"concurrency": 0}, "concurrency 0"),
    ("503", "is '503': expected keys such as match"),
])  # fmt: skip
def test_a_mistaken_rule_is_named(rule: object, message: str) -> None:
    """One line says which rule, what is wrong with it and what would be right."""
    with pytest.raises(InputError, match=f"rule 2.*{message}") as caught:
        Sandbox([Noise()], faults={"rules": [{"reset": True}, rule]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("rules: [", "not YAML at line 1"), ("- status: 503", "no fault plan"),
    ("rules: {status: 503}", "give a list"), ("sed: 1", "unknown key 'sed'"),
    ("seed: x", "seed 'x'"), ("rules: [{status: 1}]", "rule 1: status 1 is unusable"),
])  # fmt: skip
def test_a_mistaken_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    """The command ends with status 2 and one line that names the file."""
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    assert main(["sandbox", "--port", "0", "--faults", str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(f"{re.escape(str(path))}.*{message}", line)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message holds the path."""
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        Sandbox([Noise()], faults=tmp_path / "nowhere.yaml")


def test_only_a_token_can_expire() -> None:
    """Without one the plan could never do what it says."""
    with pytest.raises(InputError, match="no token to expire"):
        sandbox(expire_token_after=3)
