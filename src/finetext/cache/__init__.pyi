from .features import Inputs as Inputs
from .features import Trunk as Trunk
from .features import store_features as store_features
from .features import weights_digest as weights_digest
from .store import Features as Features
from .store import FeatureStore as FeatureStore
from .store import ShelfSummary as ShelfSummary
from .store import StoreFull as StoreFull
