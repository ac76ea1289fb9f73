"""What every test of the benchmark needs done before warnings become errors."""

# A library that it imports warns of its own use of another library, once, when it is first imported.
import portcullis.envoy_config  # noqa: F401
