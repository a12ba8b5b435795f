"""Owners agree as if their texts lay in one place, and hashes and noise hide what they should."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import polars as pl
import pytest

from plait.core.figures import StageReport
from plait.data.batch import Batch
from plait.data.ops.filters.characters import AlphanumericFilter, TextLengthFilter
from plait.data.ops.filters.language import LanguageIDScoreFilter
from plait.data.ops.filters.words import WordsNumFilter
from plait.data.study.agree import agree, merge_sketches
from plait.data.study.analyze import sketch
from plait.data.study.bins import Bins
from plait.data.study.criteria import criteria
from plait.data.study.joint import OwnerKeys, owner_keys, plan_dedup
from plait.data.study.privacy import domains, private
from plait.data.study.report import describe_agreement
from plait.data.study.sketch import CorpusSketch, Sketch
from plait.errors import DataError, StrandError, UsageError

OPS = [
    ("text_length_filter", TextLengthFilter(min_len=10, max_len=10_000)),
    ("alphanumeric_filter", AlphanumericFilter()),
]
# Letters alone: digits at the end of a word count as special and are stripped.
VOCABULARY = ["word" + "".join(letters) for letters in product("abcdefghijklmno", repeat=3)]


def _texts(seed: int, rows: int, longest: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, longest, rows)
    return [" ".join(VOCABULARY[i] for i in rng.integers(0, len(VOCABULARY), n)) for n in lengths]


def _sketched(owner: str, texts: list[str], secret: str = "ours") -> CorpusSketch:
    return sketch([Batch.of_texts(texts)], OPS, owner=owner, secret=secret, workers=1)


A, B = _texts(1, 300), _texts(2, 200, 120)
COMMON = _texts(3, 100)


def test_agreed_thresholds_are_those_of_all_texts_together():
    mine, theirs = _sketched("a", A), _sketched("b", B)
    found = agree([mine, theirs], OPS, rule="quantiles", cut=0.05)
    lengths = np.array([len(t) for t in A + B], float)
    low, high = np.quantile(lengths, [0.05, 0.95], method="inverted_cdf")
    settings = found.filters[0].settings
    assert settings["min_len"] == pytest.approx(low, rel=0.003, abs=1)
    assert settings["max_len"] == pytest.approx(high, rel=0.003, abs=1)
    assert found.owners == {"a": 300, "b": 200}
    exact = np.mean([not settings["min_len"] <= len(t) <= settings["max_len"] for t in B])
    assert found.filters[0].drops["b"] == pytest.approx(exact, abs=0.01)


def test_an_agreed_threshold_keeps_the_value_it_falls_on():
    # Three rows in ten have a share of exactly 1, which lies in one bin with 0.999.
    ratios = np.concatenate([np.linspace(0.3, 0.9, 700), np.ones(300)])
    lengths = np.repeat([7.0, 70, 133, 450], 250)
    made = [
        CorpusSketch(owner, {"": Sketch.of({"alnum_ratio": ratios, "text_len": lengths})}, "k") for owner in ("a", "b")
    ]
    ops = [
        ("alphanumeric_filter", AlphanumericFilter(min_ratio=0.1, max_ratio=1.0)),
        ("text_length_filter", TextLengthFilter(min_len=1, max_len=10**6)),
    ]
    for cut in (0.01, 0.29):
        ratio, length = agree(made, ops, cut=cut).filters
        assert ratio.settings["max_ratio"] == 1.0
        exact = np.quantile(ratios, cut, method="inverted_cdf")
        assert exact * 0.997 <= ratio.settings["min_ratio"] <= exact
        assert ratio.drops["a"] == pytest.approx(np.mean(ratios < ratio.settings["min_ratio"]), abs=0.005)
        assert length.settings == {"min_len": 7 if cut == 0.01 else 70, "max_len": 450 if cut == 0.01 else 133}
        assert length.drops["a"] == (0.0 if cut == 0.01 else 0.5)


def test_k_sigma_over_owners_is_that_of_all_texts():
    found = agree([_sketched("a", A), _sketched("b", B)], OPS, rule="k-sigma", k=1)
    lengths = np.array([len(t) for t in A + B], float)
    settings = found.filters[0].settings
    assert settings["min_len"] == np.floor(lengths.mean() - lengths.std(ddof=1))
    assert settings["max_len"] == np.ceil(lengths.mean() + lengths.std(ddof=1))


def test_the_order_of_owners_does_not_matter():
    mine, theirs, others = _sketched("a", A), _sketched("b", B), _sketched("c", COMMON)
    assert agree([mine, theirs, others], OPS) == agree([others, theirs, mine], OPS)
    assert merge_sketches([mine, theirs], "x").to_bytes() == merge_sketches([theirs, mine], "x").to_bytes()


def test_each_owner_may_have_the_same_voice():
    large, small = _sketched("a", A * 10), _sketched("b", _texts(5, 40, 400))
    by_rows = agree([large, small], OPS, cut=0.1, voice="rows").filters[0].settings["max_len"]
    by_owners = agree([large, small], OPS, cut=0.1, voice="owners").filters[0].settings["max_len"]
    assert by_owners > 2 * by_rows


def test_common_texts_are_estimated_without_texts():
    mine, theirs = _sketched("a", A + COMMON), _sketched("b", B + COMMON)
    found = agree([mine, theirs], OPS)
    [pair] = found.shared
    assert pair.texts == 100  # below the sketch's size the count is exact
    assert pair.texts_jaccard == 100 / 600
    runs = [
        {tuple(t.split()[i : i + 5]) for t in ts for i in range(len(t.split()) - 4)} for ts in (A + COMMON, B + COMMON)
    ]
    exact = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
    assert pair.runs_jaccard == pytest.approx(exact, abs=5 * pair.error)
    assert any("share about 100 texts" in warning for warning in found.warnings)
    json.dumps(found.to_json())


def test_a_sketch_holds_no_word_of_the_texts():
    data = _sketched("a", A).to_bytes()
    assert b"word" not in data.replace(b'"words"', b"")
    assert _sketched("a", A, "other").to_bytes() != data


def test_owners_with_other_secrets_or_filters_cannot_agree():
    with pytest.raises(StrandError, match="different secrets"):
        agree([_sketched("a", A), _sketched("b", B, "other")], OPS)
    with pytest.raises(StrandError, match='has no "num_words"'):
        agree([_sketched("a", A), _sketched("b", B)], [("words_num_filter", WordsNumFilter())])
    with pytest.raises(UsageError, match="two owners"):
        agree([_sketched("a", A)], OPS)
    with pytest.raises(UsageError, match="of one owner"):
        agree([_sketched("a", A), _sketched("a", B)], OPS)


def test_a_sketch_that_travels_has_no_words_but_languages():
    class Judged(LanguageIDScoreFilter):
        stats = ("lang", "verdict", "lang_score")

        def measure(self, batch):
            return {**super().measure(batch), "verdict": batch.text("text")}

    made = sketch([Batch.of_texts(A)], [("judged", Judged())], owner="a", secret="ours", workers=1)
    assert set(made.overall.words) == {"lang"}
    assert not any(word.encode() in made.to_bytes() for word in VOCABULARY)


def test_noise_is_spread_as_stated():
    generator = np.random.default_rng(1)
    stop = 1 - np.exp(-0.5)
    noise = generator.geometric(stop, 200_000) - generator.geometric(stop, 200_000)
    # P(0) = (1 - a) / (1 + a) and P(k) / P(k + 1) = exp(ε) for a = exp(-ε): the definition of the mechanism.
    a = np.exp(-0.5)
    assert np.mean(noise == 0) == pytest.approx((1 - a) / (1 + a), abs=0.005)
    assert np.mean(noise == 1) / np.mean(noise == 2) == pytest.approx(np.exp(0.5), rel=0.03)


def test_private_percentiles_are_close_and_hashes_are_gone():
    values = np.random.default_rng(4).lognormal(6, 1, 50_000)
    corpus = CorpusSketch("a", {"": Sketch.of({"text_len": values}, documents=np.arange(99, dtype=np.uint64))}, "check")
    noisy = private(corpus, 1.0, generator=np.random.default_rng(5))
    assert noisy.privacy.epsilon == 1.0
    whole = noisy.overall
    assert whole.rows == pytest.approx(50_000, rel=0.02)
    for share in (0.05, 0.5, 0.95):
        # 2 % of the value from the bins, and some hundred rows of rank from the noise.
        exact = np.quantile(values, [max(share - 0.01, 0), min(share + 0.01, 1)])
        found = whole.quantiles("text_len", np.array([share]))[0]
        assert exact[0] * 0.97 <= found <= exact[1] * 1.03
    assert not len(whole.documents.hashes)
    assert not whole.extremes
    assert CorpusSketch.from_bytes(noisy.to_bytes()).privacy == noisy.privacy


def test_noise_reaches_bins_that_hold_nothing():
    corpus = CorpusSketch("a", {"": Sketch.of({"text_len": np.full(1000, 100.0)})}, "")
    noisy = private(corpus, 0.5, generator=np.random.default_rng(6)).overall.bins["text_len"]
    assert len(noisy.keys) > 10  # which bins are empty is not told


def test_a_private_sketch_has_no_sources():
    sources = {f"patient-{i}": Sketch.of({"text_len": np.full(200, 10.0 + i)}) for i in range(20)}
    noisy = private(CorpusSketch("a", sources, "check"), 1.0, generator=np.random.default_rng(1))
    assert list(noisy.sources) == [""]
    assert b"patient" not in noisy.to_bytes()
    # Noise once, not on each source.
    assert noisy.overall.rows == pytest.approx(4000, abs=5 * 2 * noisy.privacy.blur)


@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_noise_moves_ranks_by_as_much_as_it_says(epsilon):
    rng = np.random.default_rng(9)
    stats = {f"s{i}": rng.lognormal(5, 2, 40_000) for i in range(4)}
    corpus = CorpusSketch("a", {"": Sketch.of(stats)}, "")
    ordered = np.sort(stats["s0"])
    ranks = list[float]()
    for seed in range(60):
        noisy = private(corpus, epsilon, generator=np.random.default_rng(seed))
        ranks.append(np.searchsorted(ordered, noisy.overall.quantiles("s0", np.array([0.6]))[0]))
    bins = np.ptp(np.searchsorted(ordered, np.quantile(ordered, 0.6) * np.array([0.98, 1.02])))
    assert 0.4 * noisy.privacy.blur < np.std(ranks) < 1.4 * (noisy.privacy.blur + bins)


def test_noise_is_not_spread_over_values_that_a_share_never_has():
    ops = [
        ("alphanumeric_filter", AlphanumericFilter(min_ratio=0.3, max_ratio=0.9)),
        ("text_length_filter", TextLengthFilter(min_len=10, max_len=1000)),
    ]
    known = domains(criteria(ops))
    made = [
        private(sketch([Batch.of_texts(_texts(n, 500))], ops, owner=o, secret="ours", workers=1), 0.5, domain=known,
                generator=np.random.default_rng(n))
        for n, o in enumerate("ab")
    ]  # fmt: skip
    ratio, length = agree(made, ops, cut=0.01).filters
    assert ratio.settings["max_ratio"] <= 1.0
    assert length.settings["max_len"] <= 1e7 * 1.05
    plain = private(_sketched("a", A), 0.5, generator=np.random.default_rng(0))
    assert made[0].privacy.blur < 0.85 * plain.privacy.blur
    assert known == domains(
        criteria([(name, type(op)()) for name, op in ops])
    )  # the recipe's own bounds change nothing


def test_merged_private_sketches_say_the_worst_of_their_noises():
    made = [
        private(_sketched(owner, _texts(n, 50)), epsilon, generator=np.random.default_rng(n))
        for n, (owner, epsilon) in enumerate([("a", 0.5), ("b", 2.0), ("c", 1.0)])
    ]
    merged = merge_sketches(made, "all")
    assert merged.privacy.epsilon == 2.0
    assert merged.privacy.blur == pytest.approx(np.sqrt(sum(s.privacy.blur**2 for s in made)))


def test_noise_that_hides_what_is_asked_is_told():
    few, many = (
        [private(_sketched(o, _texts(n, rows)), 1.0, generator=np.random.default_rng(n)) for n, o in enumerate("ab")]
        for rows in (400, 4000)
    )
    assert "the noise moves ranks" in agree(few, OPS, cut=0.01).warnings[0]
    assert not any("noise" in warning for warning in agree(many, OPS, cut=0.2).warnings)


def test_private_owners_agree():
    made = [
        private(_sketched(owner, _texts(seed, 3000)), 2.0, generator=np.random.default_rng(seed))
        for owner, seed in (("a", 11), ("b", 12))
    ]
    found = agree(made, OPS, cut=0.1)
    lengths = np.array([len(t) for t in _texts(11, 3000) + _texts(12, 3000)])
    assert found.filters[0].settings["max_len"] == pytest.approx(np.quantile(lengths, 0.9), rel=0.1)
    assert (found.shared, found.epsilon) == ([], {"a": 2.0, "b": 2.0})
    with pytest.raises(StrandError, match="noise"):
        agree([made[0], _sketched("c", A)], OPS)
    report = StageReport()
    describe_agreement(found, report)
    assert report.facts["ε of a"] == 2.0


def test_noise_needs_an_epsilon_and_is_added_once():
    corpus = _sketched("a", A)
    with pytest.raises(UsageError, match="no protection"):
        private(corpus, 0)
    with pytest.raises(UsageError, match="already"):
        private(private(corpus, 1), 1)


def test_values_outside_the_domain_are_counted_at_its_ends():
    values = np.concatenate([np.full(5000, 1e12), np.full(5000, 1e-8), np.full(5000, -3.0)])
    corpus = CorpusSketch("a", {"": Sketch.of({"x": values})}, "")
    bins = private(corpus, 5.0, generator=np.random.default_rng(7)).overall.bins["x"]
    assert bins.quantile(0.9) == pytest.approx(1e7, rel=0.03)
    assert bins.quantile(0.3) == 0.0
    signed = private(corpus, 5.0, signed=True, generator=np.random.default_rng(7)).overall.bins["x"]
    assert signed.quantile(0.1) == pytest.approx(-3, rel=0.03)


def _keys(owner: str, texts: list[str], secret: str = "ours") -> OwnerKeys:
    return owner_keys([Batch.of_texts(texts[:50]), Batch.of_texts(texts[50:])], owner=owner, secret=secret)


def _near(text: str) -> str:
    words = text.split()
    return " ".join([*words[:-1], "changed"])


LONG = _texts(8, 40, 200)
LONG = [t for t in LONG if len(t.split()) > 80]


def test_each_common_text_is_kept_by_one_owner():
    mine, theirs = _keys("a", A + COMMON), _keys("b", B + COMMON)
    found = plan_dedup([mine, theirs])
    a, b = found.owners["a"], found.owners["b"]
    assert len(a.drop) + len(b.drop) == 100
    assert found.across == found.clusters == 100
    assert 25 <= len(a.drop) <= 75  # spread over both
    for at, (kept_by, kept_at) in zip(a.drop, zip(a.kept_by, a.kept_at, strict=True), strict=True):
        assert kept_by == "b"
        assert (A + COMMON)[at] == (B + COMMON)[kept_at]
        assert kept_at not in b.drop


def test_the_first_owner_keeps_if_asked():
    found = plan_dedup([_keys("b", B + COMMON), _keys("a", A + COMMON)], keep="first")
    assert found.owners["a"].drop == []
    assert found.owners["b"].drop == list(range(200, 300))


def test_near_copies_are_found_and_the_order_of_owners_does_not_matter():
    mine, theirs = _keys("a", LONG), _keys("b", [_near(t) for t in LONG] + B)
    found = plan_dedup([mine, theirs])
    assert len(found.owners["a"].drop) + len(found.owners["b"].drop) >= 0.95 * len(LONG)
    assert plan_dedup([theirs, mine]) == found


def test_copies_within_an_owner_are_dropped_too():
    found = plan_dedup([_keys("a", [A[0], A[1], A[0]]), _keys("b", B[:3])])
    assert (found.owners["a"].drop, found.owners["a"].kept_at) == ([2], [0])
    assert (found.clusters, found.across) == (1, 0)


@pytest.mark.parametrize("keep", ["first", "spread"])
def test_exactly_one_row_of_each_connected_set_stays(keep):
    rng = np.random.default_rng(9)
    owners = []
    for name, rows in (("a", 60), ("b", 50), ("c", 0), ("d", 40)):
        bands = rng.integers(1, 90, (rows, 2)).astype(np.uint64)
        owners.append(OwnerKeys(name, rng.integers(0, 2**62, rows).astype(np.uint64), bands, "check"))
    found = plan_dedup(owners, keep=keep)
    # By hand: walk from row to row over equal keys.
    rows = [(o.owner, i, o.bands[i].tolist()) for o in owners for i in range(len(o.documents))]
    seen, sets = set[int](), list[set[int]]()
    for start in range(len(rows)):
        if start in seen:
            continue
        component, queue = {start}, [start]
        while queue:
            here = queue.pop()
            for there in range(len(rows)):
                if there not in component and any(p == q for p, q in zip(rows[here][2], rows[there][2], strict=True)):
                    component.add(there)
                    queue.append(there)
        seen |= component
        sets.append(component)
    for component in sets:
        kept = [rows[r] for r in component if rows[r][1] not in found.owners[rows[r][0]].drop]
        assert len(kept) == 1
        for r in component:
            part = found.owners[rows[r][0]]
            if rows[r][1] in part.drop:
                at = part.drop.index(rows[r][1])
                assert (part.kept_by[at], part.kept_at[at]) == kept[0][:2]


def test_keys_survive_their_file_and_other_files_are_refused(tmp_path):
    keys = _keys("a", A)
    keys.write(tmp_path / "keys.parquet")
    again = OwnerKeys.read(tmp_path / "keys.parquet")
    assert (again.owner, again.key_check) == ("a", keys.key_check)
    assert np.array_equal(again.bands, keys.bands)
    assert np.array_equal(again.documents, keys.documents)
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "other.parquet")
    for name in ("other.parquet", "none.parquet"):
        with pytest.raises(DataError, match=r"study\.bad-keys"):
            OwnerKeys.read(tmp_path / name)


def test_keys_need_one_secret():
    with pytest.raises(UsageError, match="without a secret"):
        owner_keys([], owner="a", secret="")
    with pytest.raises(UsageError, match="without a secret"):
        _sketched("a", A, "")
    with pytest.raises(StrandError, match="different secrets"):
        plan_dedup([_keys("a", A), _keys("b", B, "other")])


def test_bins_of_a_domain_are_known_beforehand():
    low, high = Bins.of(np.array([1e-4, 1e7]), 0.02).keys
    assert high - low < 650
