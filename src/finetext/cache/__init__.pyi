from .activations import ActivationCache as ActivationCache
from .activations import CacheFull as CacheFull
from .features import Inputs as Inputs
from .features import Trunk as Trunk
from .features import cache_features as cache_features
from .features import weights_digest as weights_digest
