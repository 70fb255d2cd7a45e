"""What MkDocs does beyond its plugins when it builds the site (``make docs``)."""

import html
import re
import tomllib
from pathlib import PurePosixPath
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from docs.notebooks import tutorials
from docs.rst import to_markdown
from docs.sources import ROOT, figures, links, source

_FORMULA = r'<(span|div) class="arithmatex">(.*?)</\1>'


class Docstrings(griffe.Extension):
    """Docstrings as Markdown, formulas and references included."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a function, a class or a module."""
        del kwargs
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository, once its address stands in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    config.repo_url = project.get("urls", {}).get("Source")
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the tutorials, what the navigation names and what the pages link to."""
    for file in tutorials(config):
        files.append(file)
    pages = [file.src_uri for file in files.documentation_pages()]
    waiting = ["README.md", *_named(config.nav), *pages]
    seen: set[str] = set()
    while waiting:
        uri = waiting.pop()
        if uri in seen or not source(uri).is_file():
            continue
        seen.add(uri)
        if uri != "README.md" and not files.get_file_from_path(uri):  # index.md has it
            path, level = str(source(uri)), InclusionLevel.NOT_IN_NAV
            files.append(
                File.generated(config, uri, abs_src_path=path, inclusion=level)
            )
        if uri.endswith(".md"):
            folder = PurePosixPath(uri).parent
            waiting += [*links(uri), *(str(folder / name) for name in figures(uri))]
    return files


def on_page_markdown(
    markdown: str, *, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Links to README and docs/ hold on the site; results get title and figures."""
    del config, files
    uri = PurePosixPath(page.file.src_uri)
    to_root = "../" * (len(uri.parts) - 1)
    markdown = markdown.replace(f"]({to_root}../", f"]({to_root}")  # out of docs/
    markdown = markdown.replace(f"]({to_root}README.md", f"]({to_root}index.md")
    markdown = markdown.replace(f"]({to_root}docs/", f"]({to_root}")
    markdown = re.sub(r"(\]\([^)\s]*tutorials/\w+)\.py\)", r"\1.md)", markdown)
    if "results" not in uri.parts:
        return markdown
    title = uri.parent.name if uri.name == "table.md" else uri.stem
    shown = [f"![{title}: {name}]({name})" for name in figures(str(uri))]
    return "\n\n".join([f"# {title}", *shown, markdown])


def on_page_content(
    content: str, *, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Formulas become MathML, drawn without a script; figures open in full size."""
    del config, files

    def formula(match: re.Match[str]) -> str:
        latex = html.unescape(match[2]).strip()
        mathml = to_mathml(latex[2:-2].strip(), match[1] == "div")
        if "\\" in mathml or "<mi>&</mi>" in mathml:
            raise PluginError(f"{page.file.src_uri}: no MathML for {latex}")
        return mathml

    content = re.sub(_FORMULA, formula, content, flags=re.S)
    return re.sub(r'<img [^>]*src="([^"]+)"[^>]*>', r'<a href="\1">\g<0></a>', content)


def to_mathml(latex: str, display: bool) -> str:
    """MathML of a formula, where latex2mathml falls short of it."""
    latex = latex.replace("{aligned}", "{align*}")
    mathml = convert(latex, display="block" if display else "inline")
    return mathml.replace("<mo>&#x0005E;</mo>", "<mo>&#x002C6;</mo>")  # hats, not ^


def _named(nav: Any) -> list[str]:
    """Return the pages in a navigation, at any depth."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav or []
    return [uri for part in parts for uri in _named(part)]
