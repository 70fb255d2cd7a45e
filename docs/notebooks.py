"""The tutorials on the site: notebooks that ``make docs`` ran before MkDocs starts."""

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from docs.sources import ROOT, TUTORIALS


def tutorials(config: MkDocsConfig) -> list[File]:
    """Return the page of each tutorial, its figures, and the notebook to download."""
    return [file for name in TUTORIALS for file in _files(config, name)]


def _files(config: MkDocsConfig, name: str) -> list[File]:
    """Convert one notebook with its outputs."""
    path = ROOT / f"build/tutorials/{name}.ipynb"
    if not path.is_file():
        raise PluginError(f"There is no {path}: `make docs` runs the tutorials first.")
    exporter = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor])
    notebook = nbformat.read(path, as_version=4)
    page, resources = exporter.from_notebook_node(notebook, {"unique_key": name})
    page = page.replace("![png](", "![What this code draws](")
    page += f"\n\n[Download this page as a notebook]({name}.ipynb), with its outputs.\n"
    contents = {f"{name}.md": page, f"{name}.ipynb": path.read_bytes()}
    contents |= resources["outputs"]
    return [
        File.generated(config, f"tutorials/{at}", content=content)
        for at, content in contents.items()
    ]
