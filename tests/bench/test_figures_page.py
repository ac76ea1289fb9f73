"""The page of figures is generated from the reports of a set of runs, and from nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from portcullis.bench import figures_page, goals

if TYPE_CHECKING:
    from pathlib import Path

BENCH = (sys.executable, "-m", "portcullis", "bench")
QUICK = ("--seconds", "0.5", "--rounds", "1", "--tokens", "20")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one short run, compared with itself with metrics."""
    folder = tmp_path_factory.mktemp("results")
    done = run("check", *QUICK, "--with", "metrics", "--json", str(folder / "metrics.json"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def page(results: Path, tmp_path: Path) -> Path:
    """A page that the command has written."""
    written = tmp_path / "deeper" / "performance.md"
    done = run("report", str(results), "--page", str(written))
    assert done.returncode == 0, done.stderr
    return written


def test_the_page_has_the_machine_the_versions_the_ratios_and_the_processor_time(
    results: Path, page: Path
) -> None:
    text = page.read_text(encoding="utf-8")
    report = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    assert report["machine"]["processor"] in text
    assert report["machine"]["python"] in text
    assert f"Portcullis {report['software']['Portcullis']}" in text
    assert f"Envoy {report['software']['Envoy']}" in text
    ours, with_metrics = report["results"]
    ratio = report["ratios"][with_metrics["name"]]
    assert f"| {ratio['throughput']:.2f}x | {ratio['service_cpu']:.2f}x |" in text
    for result in (ours, with_metrics):
        assert f"service {result['cpu_us']['service']:.0f}" in text


def test_a_page_as_it_was_written_is_fresh_and_an_edited_one_is_not(page: Path) -> None:
    assert run("report", "--check", "--page", str(page)).returncode == 0
    page.write_text(page.read_text(encoding="utf-8").replace("x |", "y |", 1), encoding="utf-8")
    edited = run("report", "--check", "--page", str(page))
    assert edited.returncode == 1
    assert "is not what" in edited.stderr


def test_the_stored_data_gives_the_same_page_again(results: Path, page: Path) -> None:
    data = page.with_suffix(".json").read_text(encoding="utf-8")
    assert data == figures_page.to_data(goals.read_reports(results))
    assert page.read_text(encoding="utf-8") == figures_page.render(data, "performance.json")
    assert "rounds" not in json.loads(data)["runs"]["metrics"]["results"][0]


@pytest.mark.parametrize("text", ["no JSON", "{}", "[]", None])
def test_a_folder_without_reports_makes_no_page(tmp_path: Path, text: str | None) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    if text is not None:
        (folder / "direct.json").write_text(text, encoding="utf-8")
    done = run("report", str(folder), "--page", str(tmp_path / "performance.md"))
    assert done.returncode == 1
    assert "no report" in done.stderr
    assert not (tmp_path / "performance.md").exists()
