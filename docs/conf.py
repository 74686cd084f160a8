"""Settings of the documentation, which ``python -m sphinx docs docs/_build`` builds.

``SKLEARN_BCL_DOCS_SHORT=1`` runs the gallery on few rows, with fits of two epochs.
``SKLEARN_BCL_DOCS_ONLINE=1`` links the names of other packages, which needs internet.
"""

import os
import shutil
import sys
import warnings
from pathlib import Path

import sklearn_bcl

os.environ.setdefault("MPLBACKEND", "agg")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "sklearn-bcl"
author = "The sklearn-bcl developers"
copyright = f"2026, {author}"
version = release = sklearn_bcl.__version__
repository = "https://github.com/sklearn-bcl/sklearn-bcl"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "_fragments",
]
myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "auto_examples/**/*.ipynb"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]
nitpicky = False

autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

if os.environ.get("SKLEARN_BCL_DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn-bcl {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "github_url": repository,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "api": [], "faq": []}


is_short = os.environ.get("SKLEARN_BCL_DOCS_SHORT") == "1"
gallery = HERE / "auto_examples"
if gallery.exists() and (gallery / ".short").exists() != is_short:
    shutil.rmtree(gallery)  # figures of a short gallery are not those of a full one
if is_short:
    sys.path.insert(0, str(HERE.parent / ".ci"))
    import short

    short.shorten()
    gallery.mkdir(exist_ok=True)
    (gallery / ".short").touch()

warnings.filterwarnings("error", module=r"sklearn_bcl|__main__")
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "auto_examples",
    # Tests start processes, too: a short gallery leaves that out.
    "filename_pattern": r"/plot_(?!two_processes)" if is_short else r"/plot_",
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "min_reported_time": 600,
    "within_subsection_order": "_gallery_order.place",
    "matplotlib_animations": False,
    "show_signature": False,
}
