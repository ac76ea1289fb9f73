"""The whole gateway as users run it: `portcullis up`, real Envoy, real Redis, real clients."""
