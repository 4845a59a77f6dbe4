"""What the documents say can be typed exists, and the README's test command is the CI's."""

import re
from pathlib import Path

import click
import pytest

from pgbench.cli import cli

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path, language: str = "") -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE
    )


def commands() -> list[str]:
    """Every `pgbench …` of a code block, without the explanation behind two spaces or a #."""
    lines = (line for file in DOCUMENTS for block in blocks(file) for line in block.splitlines())
    found = (re.search(r"(?:^|/bin/)pgbench (.*)", line) for line in lines)
    return sorted({re.split(r"\s{2,}|\s#", match[1])[0] for match in found if match})


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_there_are_commands() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("text", commands())
def test_the_command_exists_with_its_options(text: str) -> None:
    command, rest = resolve(text.replace("data list | prepare", "data prepare").split())
    known = {name for param in command.params for name in param.opts}
    assert not isinstance(command, click.Group)
    assert {word.strip("[]") for word in rest if word.strip("[").startswith("--")} <= known


def test_the_readme_opens_with_two_single_line_commands_and_ci_runs_the_second() -> None:
    run, test = blocks(ROOT / "README.md")[:2]
    assert (run.count("\n"), test.count("\n")) == (1, 1)
    assert run.strip().endswith("pgbench run ablation --row g")
    assert (ROOT / ".ci" / "run").read_text().endswith(f"\n{test}")


def test_the_code_of_the_portraits_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(ROOT / "docs" / "portraits.md", "python")
    exec(compile(code, "docs/portraits.md", "exec"), {})
    assert (tmp_path / "portraits.png").stat().st_size > 100_000


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert missing == []
