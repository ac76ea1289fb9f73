"""The Envoy configuration of a gateway, made from its settings as typed messages and rendered as data.

Other packages call `render`; `to_yaml` writes its result as text, for people and for Envoy.
"""

from portcullis.envoy_config.bootstrap import SYSTEM_CAS, bootstrap, render
from portcullis.envoy_config.text import to_yaml

__all__ = ["render", "to_yaml", "bootstrap", "SYSTEM_CAS"]
