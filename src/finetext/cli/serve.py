"""`finetext serve`."""

import importlib
import os
import sys
from typing import Annotated

from finetext import serving
from finetext.errors import UsageError
from finetext.options import Flat
from finetext.serving import ServeConfig

PACKAGES = ["fastapi", "httptools", "prometheus_client", "uvicorn"]
if sys.platform != "win32":
    PACKAGES.append("uvloop")
TORCH = {
    # oneDNN caches the code it generates for each batch size, by default for 1,024 sizes in two places: with MiniLM
    # that grows to 450 MB, and the next batch has another size anyway.
    "LRU_CACHE_CAPACITY": "16",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
}
"""Environment variables that torch reads when it is loaded; those already set are left alone."""


def serve(*models: str, options: Annotated[ServeConfig, Flat] = ServeConfig()) -> None:
    """Serve trained classifiers over HTTP: POST /classify and /predict, with /docs, /metrics and /health.

    Logs are JSON lines on stderr and never hold a text. SIGHUP reloads the models; SIGTERM stops the server once the
    requests it has accepted are answered.

    Args:
        models: A run folder or saved model; several as NAME=FOLDER, the first of which is the default.
    """
    serving.name_models(models)  # reports a mistake before the heavy imports
    try:
        for package in PACKAGES:
            importlib.import_module(package)
    except ImportError as error:
        raise UsageError(f'serving needs the package {error.name}: pip install "finetext[serve]"') from error
    for name, value in TORCH.items():
        os.environ.setdefault(name, value)
    serving.serve(models, options)
