"""The dashboard's files as the API serves them: one address for each content, a strict policy, few bytes."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from sagaline.api.edge import Edge
from sagaline.api.pages import pages_router
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.tracing import Tracing
from tests.repo.tree import ROOT

HOME = ROOT / "api" / "dashboard"
SCRIPT_BYTES_MAX = 90_000


def serving(home: Path) -> httpx.AsyncClient:
    app = FastAPI(redirect_slashes=False)
    app.include_router(pages_router(home))
    app.add_middleware(Edge, tracing=Tracing(), clock=SystemClock())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HOME, tmp_path / "dashboard"))


@pytest.fixture
async def web(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(home) as client:
        yield client


def addresses(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="(/dashboard/[^"]+)"', page)


async def test_the_page_names_only_files_that_are_there_and_may_be_kept(web: httpx.AsyncClient) -> None:
    page = await web.get("/")
    assert page.status_code == 200
    assert len(addresses(page.text)) > 20
    assert "The dashboard is being loaded." in page.text.partition('<div id="app">')[2].partition("</div>")[0]
    for address in addresses(page.text):
        file = await web.get(address)
        assert file.status_code == 200, address
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["x-content-type-options"] == "nosniff"
        kinds = {"js": "text/javascript", "mjs": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        assert file.headers["content-type"].startswith(kinds[address.rpartition(".")[2]])


async def test_the_policy_allows_files_of_this_server_and_the_one_import_map(web: httpx.AsyncClient) -> None:
    page = await web.get("/")
    policy = dict(each.split(" ", 1) for each in page.headers["content-security-policy"].split("; "))
    inline = re.findall(r"<script[^>]*>([^<]+)</script>", page.text)
    (digest,) = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in inline]
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'self' 'sha256-{digest}'",
        **{f"{kind}-src": "'self'" for kind in ("style", "img", "connect", "font", "manifest")},
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["referrer-policy"] == "no-referrer"
    assert " on" not in re.sub(r">[^<]*<", "><", page.text), "a handler in the page"


async def test_a_page_that_did_not_change_is_not_sent_again(web: httpx.AsyncClient) -> None:
    page = await web.get("/")
    assert page.headers["cache-control"] == "no-cache"
    again = await web.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_changed_file_has_another_address_and_the_old_one_says_what_to_do(
    web: httpx.AsyncClient, home: Path
) -> None:
    before = addresses((await web.get("/")).text)[0]
    (home / "src" / "main.js").write_text("import 'preact'")
    after = addresses((await web.get("/")).text)[0]
    assert before != after
    gone = await web.get(before)
    assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")
    assert "load / again" in gone.json()["detail"]


async def test_no_path_leads_out_of_the_folder(web: httpx.AsyncClient) -> None:
    base = addresses((await web.get("/")).text)[0].split("/css/")[0]
    for path in ("../app.py", "css/../../app.py", "package.json", "index.html", "%2e%2e/app.py", ""):
        assert (await web.get(f"{base}/{path}")).status_code == 404


async def test_the_service_worker_stands_at_the_root_and_may_load_nothing(web: httpx.AsyncClient) -> None:
    sent = await web.get("/sw.js")
    assert (sent.status_code, sent.headers["content-security-policy"]) == (200, "default-src 'none'")
    assert sent.headers["content-type"].startswith("text/javascript")
    assert sent.headers["cache-control"] == "no-cache", "a browser sees a new one at once"
    assert "/sw.js" not in (await web.get("/")).text


async def test_a_build_without_third_party_files_says_how_to_get_them(home: Path) -> None:
    shutil.rmtree(home / "vendor")
    async with serving(home) as client:
        page = await client.get("/")
    assert page.status_code == 503
    assert "python hatch_build.py" in page.text


async def test_all_scripts_together_are_at_most_90_kb_gzipped(web: httpx.AsyncClient) -> None:
    """As they are sent; those that come later are counted too."""
    base = addresses((await web.get("/")).text)[0].split("/css/")[0]
    paths = [path for path in HOME.rglob("*") if path.suffix in (".js", ".mjs")]
    sent = [await web.get(f"{base}/{path.relative_to(HOME).as_posix()}") for path in paths]
    assert {each.status_code for each in sent} == {200}
    assert sum(int(each.headers["content-length"]) for each in sent) <= SCRIPT_BYTES_MAX


async def test_a_script_is_sent_without_comments_and_with_its_lines(web: httpx.AsyncClient, home: Path) -> None:
    source = (
        b"/** What.\n * Lives here. */\nconst a = (/** @type {any} */ b) => b; /** @param {c} d */\n"
        b"  // why\n  export { a };\n"
    )
    (home / "src" / "lib" / "text.js").write_bytes(source)
    base = addresses((await web.get("/")).text)[0].split("/css/")[0]
    sent = await web.get(f"{base}/src/lib/text.js")
    assert sent.text == "\n\nconst a = ( b) => b;\n\nexport { a };\n"


def test_comments_stand_in_no_text_of_our_scripts() -> None:
    """What is cut out is a comment: none begins inside quotes."""
    for path in (HOME / "src").rglob("*.js"):
        source = path.read_text()
        assert source.count("/*") == source.count("/**") == source.count("*/"), path
        for line in source.splitlines():
            before = line.partition("/**")[0] if "/**" in line else ""
            assert before.count('"') % 2 == 0, f"{path}: {line}"


async def test_what_is_imported_later_is_not_fetched_ahead(web: httpx.AsyncClient) -> None:
    page = (await web.get("/")).text
    ahead = [each for each in addresses(page) if each.endswith("js")]
    assert any("preact.mjs" in each for each in ahead)
    assert "dagre" not in "".join(ahead)
    assert '"@dagrejs/dagre"' in page


def test_the_pictures_of_the_documentation_are_few_and_small() -> None:
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()}
    named = re.findall(r"\(images/([^)]+)\)", (ROOT / "docs" / "dashboard.md").read_text())
    assert sorted(named) == sorted(pictures)
    assert len(pictures) <= 12
    assert max(pictures.values()) <= 120_000


async def test_a_file_is_sent_compressed_to_whom_that_suits(web: httpx.AsyncClient) -> None:
    address = next(each for each in addresses((await web.get("/")).text) if each.endswith("preact.mjs"))
    packed = await web.get(address, headers={"Accept-Encoding": "gzip"})
    plain = await web.get(address, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) == len(packed.content)
