"""What mkdocs adds to docs/: the README as first page, other pages beside docs/, the options' reference."""

import re
import textwrap
from pathlib import Path

import options_reference
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
# Pages that lie beside docs/ -> their place in the site.
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "datasets/README.md": "dataset-descriptions.md",
}


def on_files(files, config):
    """Adds the pages; mkdocs then checks their links as those of all others."""
    for source, target in BESIDE.items():
        text = moved(source, (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, target, content=text))
    for name, text in options_reference.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links of pages in docs/ to what lies beside it; marks of tests are comments that no reader needs."""
    depth = page.file.src_uri.count("/")
    text = outward(markdown, "../" * (depth + 1), "../" * depth)
    return re.sub(r"^<!-- (?:not run|run by).*? -->\n", "", text, flags=re.M)


def on_page_content(html, page, config, files):
    """Flags within code spans stay on one line: browsers break after hyphens."""

    def whole(match):
        return re.sub(r"--\w+", r'<span class="flag">\g<0></span>', match[0])

    return re.sub(r"<code>[^<]*</code>", whole, html)


def moved(source, text):
    """A page from beside docs/ with links as they are inside."""
    folder = Path(source).parent

    def link(match):
        target, part = match[2], match[3] or ""
        path = (folder / target).as_posix()
        if path.startswith("docs/"):
            return f"{match[1].replace('[docs/', '[')}({path.removeprefix('docs/')}{part})"
        if path in BESIDE:
            return f"{match[1]}({BESIDE[path]}{part})"
        return match[1][1:-1]  # a file of the repository: its name is enough

    return re.sub(r"(\[[^\]]*\])\(((?!https?:|#)[^)\s#]+)(#[^)]*)?\)", link, textwrap.dedent(text))


def outward(text, up, home):
    """Links that leave docs/ by `up`, to pages of the site or to plain names."""

    def link(match):
        place = BESIDE.get(match[2])
        return f"{match[1]}({home}{place}{match[3] or ''})" if place else match[1][1:-1]

    return re.sub(rf"(\[[^\]]*\])\({re.escape(up)}((?!\.\./)[\w./-]+)(#[^)]*)?\)", link, text)
