"""Rendering a report into one HTML file that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import base64
import binascii
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bevformer_lib import __version__
from bevformer_lib.files import atomic_path
from bevformer_lib.report import numbers, sections
from bevformer_lib.report.content import ReportContent, Section
from bevformer_lib.report.verdict import headline, verdict

_IMAGE_TYPES: Final = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))


def write_report(content: ReportContent, output: Path) -> None:
    """Write the report atomically; same content, same bytes.

    Args:
        content: what to say.
        output: the ``.html`` file; replaced if it is there.

    Raises:
        ValueError: an image is neither JPEG, PNG nor WebP.
    """
    write_page(render_report(content), output)


def render_report(content: ReportContent) -> str:
    """Return the report's HTML."""
    environment = page_environment()
    common = {"content": content, "summary": content.summary, "names": content.names}
    shown = []
    for name, section in all_sections().items():
        view = section.view(content)
        if view is not None:
            body = environment.get_template(f"{name}.html").render(**common, **view)
            shown.append((name, section.title, Markup(body)))  # noqa: S704 (what the template escaped)
    return environment.get_template("report.html").render(
        **common,
        headline=headline(content),
        verdict=verdict(content),
        random_weights=content.fact("random_weights_seed") is not None,
        synthetic=bool(content.fact("made_up")),
        sections=shown,
    )


def all_sections() -> dict[str, Section]:
    """Return the sections by name, in the order of their places: every module of ``sections`` declares one."""
    modules = {one.name: import_module(f"{sections.__name__}.{one.name}") for one in iter_modules(sections.__path__)}
    declared: dict[str, Section] = {name: module.SECTION for name, module in modules.items()}
    return dict(sorted(declared.items(), key=lambda one: one[1].place))


def page_environment() -> Environment:
    """Return what renders pages: the templates of this folder, the filters and macros that they use."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, *sections.__path__]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {**numbers.FILTERS, "data_uri": image_data_uri}
    environment.globals["version"] = __version__
    environment.globals |= vars(environment.get_template("macros.html").module)
    return environment


def write_page(page: str, output: Path) -> None:
    """Write a page atomically."""
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def image_data_uri(image: bytes) -> Markup:
    """Return an encoded image as a ``data:`` address.

    Raises:
        ValueError: the image is neither JPEG, PNG nor WebP.
    """
    for beginning, kind in _IMAGE_TYPES:
        if image.startswith(beginning):
            return Markup("data:image/{};base64,{}").format(kind, base64.b64encode(image).decode("ascii"))
    raise ValueError(f"not a JPEG, PNG or WebP image: it begins with {binascii.hexlify(image[:8])!r}")
