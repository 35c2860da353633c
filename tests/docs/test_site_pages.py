"""Pages of the repository in the site: where their links lead, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.site.pages import LinkError, Pages, links_of


def taken(root: Path, text: str) -> str:
    """The text of README.md in the site, of a repository with a guide, an example and a picture."""
    for name, content in {"README.md": text, "guides/photos.md": "# Photos\n", "kernels/README.md": "# Kernels\n",
                          "examples/01.py": "", "pictures/a.png": "", "data.bin": ""}.items():  # fmt: skip
        path = root / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    pages = {
        "index": Path("README.md"),
        "jobs/photos": Path("guides/photos.md"),
        "built/kernels": Path("kernels/README.md"),
    }
    gathered = Pages(root / "repository", pages, root / "site")
    gathered.take()
    return (root / "site/index.md").read_text()


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("[a guide](guides/photos.md)", "jobs/photos.md"),
        ("[a heading](guides/photos.md#sizes)", "jobs/photos.md#sizes"),
        ("[a folder](kernels/)", "built/kernels.md"),
        ("[code](examples/01.py)", "source:source/examples/01.py.html"),
        ("![picture](pictures/a.png)", "files/pictures/a.png"),
        ('<img src="pictures/a.png" width="600">', "files/pictures/a.png"),
        ("[here](#changes)", "#changes"),
        ("[there](https://data-apis.org/array-api/)", "https://data-apis.org/array-api/"),
    ],
)
def test_a_link_leads_to_its_page(link, target, tmp_path):
    text = taken(tmp_path, f"# Title\n\nsee {link}\n")
    (match,) = links_of(text.splitlines()[2])
    assert match[3] == target
    assert (tmp_path / "site/files/pictures/a.png").exists() == ("a.png" in link)


@pytest.mark.parametrize(
    "link",
    [
        "[x](nowhere.md)",
        "[x](data.bin)",
        "[x](examples/)",
        "![x](pictures/b.png)",
        "[x](ftp://a.b/)",
        "[x](http://a.b)",
    ],
)
def test_a_link_that_leads_nowhere_is_an_error_that_names_file_and_line(link, tmp_path):
    with pytest.raises(LinkError, match=r"^README\.md:3: "):
        taken(tmp_path, f"# Title\n\nsee {link}\n")


def test_a_page_that_is_missing_is_an_error(tmp_path):
    gathered = Pages(tmp_path, {"index": Path("README.md")}, tmp_path / "site")
    with pytest.raises(LinkError, match=r"^README\.md: "):
        gathered.take()


def test_links_within_code_are_left_as_they_are(tmp_path):
    text = "# Title\n\n`[x](nowhere)`\n\n```\n[x](nowhere)\n```\n"
    assert taken(tmp_path, text) == text
