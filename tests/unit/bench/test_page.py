"""The page, the README's table and the raw numbers they are made from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.suite import main, page, plots, results
from bench.suite.results import Curve, Part, Point, Results
from bench.suite.toolchain import CHECKOUT


def part(**changes: object) -> Part:
    whole = Part(
        "publish-1", "publish, 1 publisher", "MEMORY", "own", 1000, is_headline=True,
        rounds={
            "ours": [{"rate": rate, "cpu": 2.0, "peak": 50.0} for rate in (300.0, 100.0, 200.0)],
            "Go": [{"rate": rate, "cpu": 4.0, "peak": 25.0} for rate in (100.0, 100.0, 100.0)],
        },
        busy_cores=[0.0, 0.42],
    )  # fmt: skip
    return replace(whole, **changes)  # type: ignore[arg-type]


def run(*parts: Part, **changes: object) -> Results:
    whole = Results("2026-11-23T12:00+00:00", "make bench", 90.0, {"cores": "2"}, 3, parts=list(parts))
    return replace(whole, **changes)  # type: ignore[arg-type]


def row(text: str, beginning: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return found


def test_a_row_has_medians_spread_and_ratios() -> None:
    text = page.page(run(part()), "run.json", [])
    assert row(text, "| publish, 1 publisher ") == (
        "| publish, 1 publisher | own | messages/s | 200 (100..300) | 100 | 2.00 (1.00..3.00)"
        " | 2.00 | 4.00 | 0.50 | 50.0 | 25.0 | 2.00 | 0.4 |"
    )
    assert "| cores | 2 |" in text
    assert "(../../bench/results/run.json)" in text


def test_latency_has_a_row_per_percentile() -> None:
    figures = {"rate": 10.0, "p50": 1.0, "p99": 5.0, "p999": 9.0, "cpu": 1.0, "peak": 1.0}
    text = page.side_by_side([part(rounds={"ours": [figures], "Go": [figures]})])
    assert [line.split(" | ")[2] for line in text.splitlines()[2:]] == ["messages/s", "p50, µs", "p99, µs", "p99.9, µs"]


def test_without_go_ours_stands_alone_and_the_page_says_so() -> None:
    alone = part(rounds={"ours": [{"rate": 300.0, "cpu": 2.0, "peak": 50.0}]})
    text = page.page(run(alone, notes=["The Go server was not measured: no `go` on PATH."]), "run.json", [])
    assert "| messages/s | 300 | – | – |" in text
    assert "**The Go server was not measured: no `go` on PATH.**" in text


def test_a_failed_part_is_in_the_table_and_in_the_list() -> None:
    broken = part(rounds={"ours": [], "Go": []}, error="ours, round 1: LoadFailed: late | 3 of\n4 acks", busy_cores=[])
    found = run(part(), broken)
    text = page.page(found, "run.json", [])
    assert found.errors() == ["publish-1 (MEMORY): ours, round 1: LoadFailed: late | 3 of\n4 acks"]
    assert "- publish-1 (MEMORY): ours, round 1: LoadFailed: late / 3 of 4 acks" in text
    assert "failed: ours, round 1: LoadFailed: late / 3 of 4 acks" in text


def test_rounds_that_do_not_pair_have_no_ratio() -> None:
    torn = part(rounds={"ours": [{"rate": 1.0}, {"rate": 2.0}], "Go": [{"rate": 1.0}]}, error="Go, round 2: late")
    assert " | – | – |" in page.side_by_side([torn])


def curve() -> Curve:
    points = [Point(10**power, [{"rate": 100.0 - power, "cpu": 1.0 + power, "peak": 1.0}]) for power in range(3)]
    return Curve("channels-one", "channels", "publish to one of them", "MEMORY", "publishes", 1000, points)


def test_growth_says_how_much_it_bends() -> None:
    text = page.page(run(curves=[curve()]), "run.json", ["growth-rate.svg"])
    assert "the fastest point is 1.02 times\nthe slowest (98 to 100 a second)" in text
    assert "the dearest 3.00 times the cheapest (1.00 to 3.00 µs)" in text
    assert "![growth-rate](pictures/growth-rate.svg)" in text


def test_what_took_no_processor_time_has_no_ratio(tmp_path: Path) -> None:
    """The kernel may not have looked at its clock while a short round was under way."""
    nothing = {"rate": 0.0, "cpu": 0.0, "peak": 0.0}
    points = [Point(1, [{"rate": 100.0, "cpu": 1.0, "peak": 1.0}]), Point(10, [{**nothing, "rate": 90.0}])]
    flat = replace(curve(), points=points)
    still = part(rounds={"ours": [nothing], "Go": [nothing]})
    idle = part(name="ceiling-1", rounds={"ours": [nothing], "through": [nothing], "idle": [nothing]})
    found = run(still, ceilings=[idle], curves=[flat, replace(curve(), points=points[1:])])
    text = page.page(found, "run.json", [])
    assert "From 1 to 10 channels there was too little\nto measure" in text
    assert "From 10 to 10 channels there was too little\nto measure" in text
    assert "| messages/s | 0 | 0 | – | 0.00 | 0.00 | – | 0.0 | 0.0 | – |" in text
    assert "| 0 | 0 | 0 | – | – | 0.00 |" in text
    assert "| percent | – |" in page.headlines(found)
    assert [path.name for path in plots.draw(run(still), tmp_path)] == ["ratios.svg"]


def test_percent_of_the_ceiling() -> None:
    rounds = {
        "ours": [{"rate": 190.0}, {"rate": 180.0}],
        "through": [{"rate": 90.0}, {"rate": 80.0}],
        "idle": [{"rate": 100.0, "cpu": 0.5}] * 2,
    }
    found = run(ceilings=[part(name="ceiling-1", rounds=rounds)])
    assert "| 100 | 185 (180..190) | 85 (80..90) | 185 (180..190) | 85 (80..90) | 0.50 |" in page.page(
        found, "run.json", []
    )
    assert "past nats-server: of what that allows | MEMORY | own | percent | 185 (180..190) |" in page.headlines(found)
    assert "through nats-server: of what that allows | MEMORY | own | percent | 85 (80..90) |" in page.headlines(found)


def test_the_readme_gets_the_headlines_between_its_marks() -> None:
    readme = f"# Title\n{page.BEGIN}\nold\n{page.END}\nrest\n"
    changed = page.with_headlines(readme, run(part(), part(title="other", is_headline=False)))
    assert changed.startswith(f"# Title\n{page.BEGIN}\n\nMade by `make bench` on 2026-11-23. ")
    assert changed.endswith(f"\n{page.END}\nrest\n")
    assert "old" not in changed
    assert "other" not in changed
    assert page.with_headlines(changed, run(part())) == changed


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- bench: begin -->"):
        page.with_headlines("# Title\n", run(part()))


def test_raw_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    found = run(part(), ceilings=[part(name="ceiling-1")], curves=[curve()], failures=["the Go programs: no"])
    results.save(found, tmp_path / "new" / "run.json")
    assert results.load(tmp_path / "new" / "run.json") == found


def test_raw_numbers_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="not in format 1"):
        results.load(tmp_path / "run.json")


def test_the_page_is_what_its_raw_numbers_give() -> None:
    """Nobody edits it, and a change of its text is not forgotten in it: `--page-of` makes it anew."""
    text = (CHECKOUT / main.PAGE).read_text(encoding="utf-8")
    (name,) = re.findall(r"\]\(\.\./\.\./bench/results/(.+\.json)\)", text)
    pictures = re.findall(r"\]\(pictures/(.+\.svg)\)", text)
    assert text == page.page(results.load(CHECKOUT / main.RAW / name), name, pictures)
