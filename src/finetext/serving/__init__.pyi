from .app import build_app as build_app
from .server import serve as serve
from .service import Service as Service
from .settings import ServeConfig as ServeConfig
from .settings import name_models as name_models
